"""The control groups of this process, of version 1 or 2 of the kernel's interface.

The standard library alone: the supervisor imports it.
"""

import math
import os
from collections.abc import Iterator
from pathlib import Path

ROOT = Path("/sys/fs/cgroup")
"""Where the kernel shows control groups."""

OWN = Path("/proc/self/cgroup")
"""The file that names those of this process."""

_VERSION_2 = ""
_QUOTA_FILES = (("cpu.max",), ("cpu.cfs_quota_us", "cpu.cfs_period_us"))


def list_groups(controller: str, root: Path = ROOT, own: Path = OWN) -> Iterator[Path]:
    """List the folders of this process's groups of a controller, its own first, then those above it.

    A container sees its own group at the top, whatever path the kernel names.
    """
    for line in read(own).splitlines():
        _, controllers, path = line.split(":", 2)
        if controllers == _VERSION_2 or controller in controllers.split(","):
            top = root if controllers == _VERSION_2 else root / controller
            group = Path(path.lstrip("/"))
            yield from (top / above for above in (group, *group.parents))


def read(path: Path) -> str:
    """Return a file's text, empty where it cannot be read."""
    try:
        return path.read_text()
    except (OSError, UnicodeDecodeError):
        return ""


def count_cores(root: Path = ROOT, own: Path = OWN) -> int:
    """Count the cores that this process may use: its affinity, capped by the quotas of its control groups."""
    quotas = [
        _parse_quota(" ".join(read(folder / file) for file in files))
        for folder in list_groups("cpu", root, own)
        for files in _QUOTA_FILES
    ]
    affinity = len(os.sched_getaffinity(0))
    return max(1, math.ceil(min([affinity, *quotas])))


def _parse_quota(text: str) -> float:
    """Parse `QUOTA PERIOD` to cores; infinity where there is no limit, which version 1 writes as -1."""
    try:
        quota, period = map(int, text.split())
        return quota / period if quota > 0 else math.inf
    except (ValueError, ZeroDivisionError):
        return math.inf
