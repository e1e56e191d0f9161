"""How much memory this process may use, how often the kernel killed one that used more, and its heap.

The standard library alone: the supervisor imports it.
"""

import contextlib
import ctypes
import os
import resource
from dataclasses import dataclass
from pathlib import Path

from fedmx import cgroups
from fedmx.libraries import is_set

# Version 1 of control groups writes "unlimited" as the largest multiple of a page.
_UNLIMITED = 2**62
# Versions 2 and 1 of control groups.
_GROUP_FILES = ("memory.max", "memory.limit_in_bytes")
# Of <malloc.h>.
_M_TRIM_THRESHOLD, _M_MMAP_MAX, _M_ARENA_MAX = -1, -4, -8
_NEVER = -1
# Options that keep freed memory, unless the user has set one of the variables: option, value, variables.
_KEEPING = (
    (_M_MMAP_MAX, 0, ("MALLOC_MMAP_MAX_", "MALLOC_MMAP_THRESHOLD_")),
    (_M_TRIM_THRESHOLD, _NEVER, ("MALLOC_TRIM_THRESHOLD_",)),
)
_PROCESS_LIMITS = {"RLIMIT_AS": resource.RLIMIT_AS, "RLIMIT_DATA": resource.RLIMIT_DATA}


@dataclass(frozen=True)
class Limit:
    """A limit on the memory of a process.

    Attributes:
        size: in bytes.
        name: of the resource limit, the control group's file, or the line in `/proc/meminfo`.
    """

    size: int
    name: str

    def name_in_container(self, program: str) -> str:
        """Return what sets the limit in a container: the compose file's setting, for a control group.

        Args:
            program: `server` or `client`.
        """
        return f"{program.upper()}_MEMORY" if self.name in _GROUP_FILES else self.name


def find_limit(root: Path = cgroups.ROOT, own: Path = cgroups.OWN) -> Limit | None:
    """Return the smallest limit on this process's memory, or None if there is none.

    Args:
        root: where the kernel shows control groups.
        own: the file that names those of this process.
    """
    limits = []
    for folder in cgroups.list_groups("memory", root, own):
        for file in _GROUP_FILES:
            text = cgroups.read(folder / file).strip()
            if text.isdecimal() and int(text) < _UNLIMITED:
                limits.append(Limit(int(text), file))
    for name, kind in _PROCESS_LIMITS.items():
        soft, _ = resource.getrlimit(kind)
        if soft != resource.RLIM_INFINITY:
            limits.append(Limit(soft, name))
    return min(limits, key=lambda limit: limit.size, default=None)


def find_physical() -> Limit:
    """Return this machine's memory."""
    return Limit(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"), "MemTotal")


def count_kills(root: Path = cgroups.ROOT, own: Path = cgroups.OWN) -> int:
    """Return how many processes of this control group the kernel killed because memory ran out."""
    for folder in cgroups.list_groups("memory", root, own):
        for file in ("memory.events", "memory.oom_control"):
            for line in cgroups.read(folder / file).splitlines():
                name, _, count = line.partition(" ")
                if name == "oom_kill":
                    return int(count)
    return 0


def share_heap() -> None:
    """Have all threads use one heap, if the C library is glibc; call it before any thread is started.

    Each thread's own heap would hold freed frames that the others cannot use, and every fresh page costs a
    fault. With one heap a round of a 100 MB model takes half the time, and the server's peak is a sixth
    lower.
    """
    _set_option(_M_ARENA_MAX, 1)


def keep_heap() -> None:
    """Keep freed memory for the next round, instead of returning it to the kernel, if the C library is glibc.

    Fresh pages are slow, above all in virtual machines: a round of a 2 GB model takes 10 s with them, and 5 s
    without. It is for a process that needs blocks of the same sizes over and over; with others, as in
    training, a heap of large blocks has gaps.
    """
    for option, value, variables in _KEEPING:
        if not any(map(is_set, variables)):
            _set_option(option, value)


def _set_option(option: int, value: int) -> None:
    with contextlib.suppress(AttributeError):
        ctypes.CDLL(None).mallopt(option, value)
