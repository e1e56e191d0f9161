"""A stopwatch in the server's process: the seconds and bytes of each round, and the peak memory of each step.

It writes lines of JSON to a file as they happen, so that an interrupted run keeps its rounds.
"""

import json
import os
import socket
import struct
import time
from pathlib import Path
from types import TracebackType
from typing import Self

_TCP_ESTABLISHED = 1
# Linux's struct tcp_info: u64 tcpi_bytes_acked and tcpi_bytes_received follow 8 u8, 24 u32 and two u64.
_TCP_INFO_BYTES = struct.Struct("<B119xQQ")


_GATE_EVERY_S = 0.05


class Stopwatch:
    """Writes a line at the start, at each `mark` and at the end.

    Args:
        path: of the file.

    Attributes:
        times: moments of the round to write with its mark, by name, in seconds of `time.perf_counter`, a
            clock that all processes of a machine share.
    """

    def __init__(self, path: Path) -> None:
        self.times: dict[str, float] = {}
        self._file = path.open("w", buffering=1)
        self._gate = find_gate(path)
        self._marks = 0
        self._peaks: dict[str, int] = {}
        self._round: dict[str, object] = {}

    def __enter__(self) -> Self:
        self._write(kind="start", base_rss=read_memory("VmRSS"))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._write(kind="end", error=None if error is None else f"{type(error).__name__}: {error}")
        self._file.close()

    def note_peak(self, step: str) -> None:
        """Record the peak memory since the last call as that of a step."""
        self._peaks[step] = read_memory("VmHWM")
        # Resets the kernel's peak, see /proc/PID/clear_refs in proc(5).
        Path("/proc/self/clear_refs").write_text("5")

    def note_step(self, before: str, after: str) -> None:
        """Record that one step of the round ends and another begins."""
        self.times[after] = time.perf_counter()
        self.note_peak(before)

    def mark(self) -> None:
        """Record the end of a round, and let the next one begin."""
        self.end_round()
        self.resume()

    def end_round(self) -> None:
        """Record the end of a round; time until `resume` does not count towards the next one."""
        ended, cpu_s = time.perf_counter(), time.process_time()
        self.note_peak("rest of the round")
        received, sent = count_socket_bytes()
        self._round = {
            "ended": ended,
            "cpu_ended": cpu_s,
            "received": received,
            "sent": sent,
            "loopback": count_loopback_bytes(),
            "peaks": self._peaks,
        }
        self._peaks = {}
        self._marks += 1

    def resume(self) -> None:
        """Write the round, wait until the next one may begin, and record that it does."""
        self._write(kind="mark", **self._round, times=self.times)
        self.times = {}
        while not may_begin(self._gate, self._marks):
            time.sleep(_GATE_EVERY_S)
        self._write(kind="resume", resumed=time.perf_counter(), cpu_resumed=time.process_time())

    def _write(self, **fields: object) -> None:
        self._file.write(json.dumps(fields) + "\n")


def find_gate(marks: Path) -> Path:
    """Return the file with the number of rounds that may be played, beside that of the marks."""
    return marks.with_name("rounds")


def may_begin(gate: Path, number: int) -> bool:
    """Return whether a round may begin; without a file every one may."""
    return not gate.exists() or number <= int(gate.read_text() or 0)


def read_memory(field: str, pid: int | str = "self") -> int:
    """Read a process's memory in bytes: `VmRSS` (now) or `VmHWM` (peak); 0 if the process has ended."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except (FileNotFoundError, ProcessLookupError):
        return 0
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith(field + ":")), 0)


def count_loopback_bytes() -> int:
    """Read the bytes over the loopback interface since boot, of all processes and with headers."""
    lines = Path("/proc/net/dev").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.strip().startswith("lo:"))


def count_socket_bytes() -> tuple[int, int]:
    """Return the bytes (received, sent) over this process's established TCP connections."""
    counted = [_count_descriptor(entry) for entry in Path("/proc/self/fd").iterdir()]
    return sum(received for received, _ in counted), sum(sent for _, sent in counted)


def _count_descriptor(entry: Path) -> tuple[int, int]:
    try:
        if not str(entry.readlink()).startswith("socket:"):
            return 0, 0
        with socket.socket(fileno=os.dup(int(entry.name))) as connection:
            if connection.type != socket.SOCK_STREAM or connection.family == socket.AF_UNIX:
                return 0, 0
            info = connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _TCP_INFO_BYTES.size)
    except OSError:
        # The descriptor was closed in the meantime.
        return 0, 0
    state, acknowledged, received = _TCP_INFO_BYTES.unpack(info)
    return (received, acknowledged) if state == _TCP_ESTABLISHED else (0, 0)
