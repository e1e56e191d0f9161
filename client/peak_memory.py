"""Measures the memory of this process, now and at its peak. Linux only."""

import contextlib
import re
from pathlib import Path

_STATUS = Path("/proc/self/status")
_CLEAR = Path("/proc/self/clear_refs")
# Resets the peak, see proc(5).
_PEAK = "5"


def read() -> int:
    """Return the bytes of memory that are in use."""
    return _read("VmRSS")


def read_peak() -> int:
    """Return the peak in bytes since `reset`; since the start of the process if the kernel refuses resets."""
    return _read("VmHWM")


def reset() -> None:
    """Start a new measurement of the peak."""
    with contextlib.suppress(OSError):
        _CLEAR.write_text(_PEAK)


def _read(name: str) -> int:
    found = re.search(rf"^{name}:\s+(\d+) kB$", _STATUS.read_text(), re.MULTILINE)
    return 1024 * int(found[1]) if found else 0
