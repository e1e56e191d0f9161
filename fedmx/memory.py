"""How much memory this process may use, and how often the kernel killed one for using more.

The standard library alone: the supervisor imports it.
"""

import os
import resource
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

_CGROUPS = Path("/sys/fs/cgroup")
_OWN = Path("/proc/self/cgroup")
# Version 1 of control groups writes "unlimited" as the largest multiple of a page.
_UNLIMITED = 2**62
_MEGABYTE = 1024**2
_PROCESS_LIMITS = {"RLIMIT_AS": resource.RLIMIT_AS, "RLIMIT_DATA": resource.RLIMIT_DATA}


@dataclass(frozen=True)
class Limit:
    """A number of bytes that a process may use.

    Attributes:
        size: the bytes.
        name: what sets it; empty for a control group, whose setting depends on who made it.
    """

    size: int
    name: str = ""


def find_limit(cgroups: Path = _CGROUPS, own: Path = _OWN) -> Limit | None:
    """Return the smallest limit on this process's memory, or None where there is none.

    Args:
        cgroups: where the kernel shows control groups, of version 2 or 1.
        own: the file that names those of this process.
    """
    limits = []
    for folder in _list_groups(cgroups, own):
        for file in ("memory.max", "memory.limit_in_bytes"):
            text = _read(folder / file).strip()
            if text.isdecimal() and int(text) < _UNLIMITED:
                limits.append(Limit(int(text)))
    for name, kind in _PROCESS_LIMITS.items():
        soft, _ = resource.getrlimit(kind)
        if soft != resource.RLIM_INFINITY:
            limits.append(Limit(soft, name))
    return min(limits, key=lambda limit: limit.size, default=None)


def find_physical() -> int:
    """Return the bytes of memory that this machine has."""
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def count_kills(cgroups: Path = _CGROUPS, own: Path = _OWN) -> int:
    """Return how many processes of this control group were killed for want of memory."""
    for folder in _list_groups(cgroups, own):
        for file in ("memory.events", "memory.oom_control"):
            for line in _read(folder / file).splitlines():
                name, _, count = line.partition(" ")
                if name == "oom_kill":
                    return int(count)
    return 0


def show_size(size: int) -> str:
    """Write bytes as engines read them in a setting: `2g`, `1536m`; rounded up to whole megabytes."""
    megabytes = -(-size // _MEGABYTE)
    gigabytes, rest = divmod(megabytes, 1024)
    return f"{megabytes}m" if rest else f"{gigabytes}g"


def _list_groups(cgroups: Path, own: Path) -> Iterator[Path]:
    """List the folders of this process's control groups for memory, its own first, then those above it.

    A container sees its own group at the top, whatever path the kernel names.
    """
    for line in _read(own).splitlines():
        _, controllers, path = line.split(":", 2)
        if controllers in ("", "memory"):
            top = cgroups / controllers
            group = Path(path.lstrip("/"))
            yield from (top / above for above in (group, *group.parents))


def _read(path: Path) -> str:
    try:
        return path.read_text()
    except (OSError, UnicodeDecodeError):
        return ""
