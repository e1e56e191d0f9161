"""How much memory this process uses, and used at most since a moment. Linux only."""

import contextlib
import re
from pathlib import Path

_STATUS = Path("/proc/self/status")
_CLEAR = Path("/proc/self/clear_refs")
# Resets the peak, see proc(5).
_PEAK = "5"


def read() -> int:
    """Return the bytes of memory in use now."""
    return _read("VmRSS")


def read_peak() -> int:
    """Return the bytes in use at most since `reset`; since the process began, if the kernel refuses it."""
    return _read("VmHWM")


def reset() -> None:
    """Let the peak begin now."""
    with contextlib.suppress(OSError):
        _CLEAR.write_text(_PEAK)


def _read(name: str) -> int:
    found = re.search(rf"^{name}:\s+(\d+) kB$", _STATUS.read_text(), re.MULTILINE)
    return 1024 * int(found[1]) if found else 0
