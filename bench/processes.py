"""Starts the processes of a measurement, reads their memory, and ends all of them."""

import contextlib
import os
import secrets
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Self

from bench.flower_app.null_app.stopwatch import read_memory
from fedmx.settings import environment

_MARK = "FEDMX_BENCH"
# The state in /proc/net/tcp.
_LISTENING = "0A"


class MeasurementError(Exception):
    """An engine did not finish; the message is shown in the table."""


class Children:
    """The processes of one measurement and their temporary folder, ended and removed when the block is left.

    Each process has a random mark in its environment, which its children inherit: SuperLink starts some in
    sessions of their own, and they outlive their parents.
    """

    def __init__(self) -> None:
        self._mark = secrets.token_hex(8)
        self._temporary = tempfile.TemporaryDirectory(prefix="fedmx-bench-")
        self._started: list[subprocess.Popen[bytes]] = []
        self.folder = Path(self._temporary.name)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.end()
        self._temporary.cleanup()

    def start(
        self, name: str, *command: str, env: Mapping[str, str] | None = None
    ) -> subprocess.Popen[bytes]:
        """Start a program; its output goes to `NAME.log` in the folder."""
        with (self.folder / f"{name}.log").open("wb") as log:
            process = subprocess.Popen(
                command,
                env=environment()
                | dict(env or {})
                | {_MARK: f"{self._mark}:{name}", "PYTHONUNBUFFERED": "1"},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                # Ctrl-C reaches only the parent, which then ends all processes.
                start_new_session=True,
            )
        self._started.append(process)
        return process

    def start_module(
        self, name: str, module: str, *arguments: str, env: Mapping[str, str] | None = None
    ) -> subprocess.Popen[bytes]:
        """Start `python -m module` with this interpreter."""
        return self.start(name, sys.executable, "-m", module, *arguments, env=env)

    def find(self, name: str = "") -> list[int]:
        """List the live processes of this measurement, or those of one `name`, with their children."""
        wanted = f"{_MARK}={self._mark}:{name}".encode()

        def is_ours(process: Path) -> bool:
            return any(string.startswith(wanted) for string in _read_strings(process / "environ"))

        return [int(process.name) for process in Path("/proc").glob("[0-9]*") if is_ours(process)]

    def read_peaks(self, name: str) -> dict[str, int]:
        """Read the peak memory of the live processes of one `name`, in bytes, by `program (pid)`."""
        return {f"{_name_program(pid)} ({pid})": read_memory("VmHWM", pid) for pid in self.find(name)}

    def end(self) -> None:
        """End all processes: SIGTERM first, SIGKILL after five seconds."""
        for number, patience_s in ((signal.SIGTERM, 5.0), (signal.SIGKILL, 5.0)):
            for pid in self.find():
                _send(pid, number)
            deadline = time.monotonic() + patience_s
            while time.monotonic() < deadline:
                for process in self._started:
                    # Reaps processes that ended; zombies would be found below.
                    process.poll()
                if not self.find():
                    return
                time.sleep(0.05)

    def tail(self, name: str, lines: int = 3) -> str:
        """Return the last lines of a program's output, for an error message."""
        text = (self.folder / f"{name}.log").read_text(errors="replace")
        return " | ".join(text.strip().splitlines()[-lines:])


def wait_until(is_done: Callable[[], bool], timeout_s: float, what: str, every_s: float = 0.1) -> None:
    """Poll until `is_done` returns True.

    Raises:
        MeasurementError: after `timeout_s` seconds.
    """
    deadline = time.monotonic() + timeout_s
    while not is_done():
        if time.monotonic() > deadline:
            raise MeasurementError(f"{what}: timed out after {timeout_s:g} s")
        time.sleep(every_s)


def wait_for_port(port: int, timeout_s: float = 60.0) -> None:
    """Wait until something listens on a loopback port."""

    def is_listening() -> bool:
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
        except OSError:
            return False
        return True

    wait_until(is_listening, timeout_s, f"waiting for port {port}")


def is_listening(port: int) -> bool:
    """Return whether a program listens on a port of this machine, without connecting to it."""
    # gRPC listens on IPv6, also for an address of IPv4.
    lines = [
        line for name in ("tcp", "tcp6") for line in Path("/proc/net", name).read_text().splitlines()[1:]
    ]
    rows = (line.split() for line in lines)
    return any(row[1].endswith(f":{port:04X}") and row[3] == _LISTENING for row in rows)


def free_port() -> int:
    """Find a loopback port that nothing listens on."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def _read_strings(path: Path) -> list[bytes]:
    try:
        return path.read_bytes().split(b"\0")
    except OSError:
        # The process ended, or belongs to another user.
        return []


def _name_program(pid: int) -> str:
    arguments = _read_strings(Path(f"/proc/{pid}/cmdline"))
    names = [Path(argument.decode(errors="replace")).name for argument in arguments]
    return next((name for name in names if name and not name.startswith(("python", "-"))), "?")


def _send(pid: int, number: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, number)
