"""Child processes, started, read from and ended together; none outlives the process that started them."""

import os
import queue
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from fedmx.children import kill_session
from fedmx.readiness import Ready

STOP_S = 4.0
"""Seconds between SIGTERM and SIGKILL: the programs promise to end within five, and so does the launcher."""


@dataclass(eq=False)
class Child:
    """One program.

    Attributes:
        ready: what a server reported once it listened.
        exit_code: None while it runs, and 128 + N after signal N.
    """

    name: str
    process: "subprocess.Popen[str]"
    ready: Ready | None = None
    exit_code: int | None = None

    @property
    def is_killed(self) -> bool:
        """Whether a signal has ended it; a program that handles the signal ends by itself."""
        return (self.process.returncode or 0) < 0


class Processes:
    """The children, as a context: leaving it ends those that still run."""

    def __init__(self, root: Path, on_line: Callable[[str, str], None]) -> None:
        """Prepare to start programs.

        Args:
            root: their working directory.
            on_line: called with the name of a child and a line that it wrote.
        """
        self._root = root
        self._on_line = on_line
        self._children: list[Child] = []
        self._events: queue.SimpleQueue[tuple[Child, str | Ready | None]] = queue.SimpleQueue()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.end(self._children)
        # What a child has started may outlive it, such as the workers of a simulation.
        for child in self._children:
            kill_session(child.process.pid)

    def start(self, name: str, module: str, environment: Mapping[str, str]) -> Child:
        """Start a Python module as a program, with a pipe through which a server reports that it listens."""
        reader, writer = os.pipe()
        process = subprocess.Popen(
            [sys.executable, "-m", "fedmx.child", str(os.getpid()), module],
            cwd=self._root,
            env={**environment, "READY_FD": str(writer)},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            # Otherwise Ctrl-C would reach it twice: from the terminal and from here.
            start_new_session=True,
            pass_fds=[writer],
        )
        os.close(writer)
        child = Child(name, process)
        self._children.append(child)
        report = threading.Thread(target=self._read_report, args=(child, reader), daemon=True)
        report.start()
        threading.Thread(target=self._read_lines, args=(child, report), daemon=True).start()
        return child

    def wait(self, timeout_s: float, until: Callable[[], bool] = lambda: False) -> Child | None:
        """Pass lines on until a child ends.

        Returns:
            The child; None if `until` became true or the time is over.
        """
        deadline = time.monotonic() + timeout_s
        while not until():
            try:
                child, event = self._events.get(timeout=max(0.0, deadline - time.monotonic()))
            except queue.Empty:
                return None
            if event is None:
                code = child.process.wait()
                child.exit_code = code if code >= 0 else 128 - code
                return child
            if isinstance(event, Ready):
                child.ready = event
            else:
                self._on_line(child.name, event)
        return None

    def wait_for(self, children: Iterable[Child], timeout_s: float) -> bool:
        """Wait until all of some children have ended, and return whether they have."""
        children = list(children)
        deadline = time.monotonic() + timeout_s
        while any(child.exit_code is None for child in children):
            if self.wait(max(0.0, deadline - time.monotonic())) is None:
                return False
        return True

    def end(self, children: Iterable[Child]) -> None:
        """Send SIGTERM to the children that run, and SIGKILL to those that do not end."""
        # The server last, so that no client dials it again.
        children = list(children)[::-1]
        for number in (signal.SIGTERM, signal.SIGKILL):
            for child in children:
                if child.process.poll() is None:
                    with suppress(ProcessLookupError):
                        os.killpg(child.process.pid, number)
            if self.wait_for(children, STOP_S):
                return

    def _read_lines(self, child: Child, report: threading.Thread) -> None:
        with child.process as process:
            for line in process.stdout or ():
                self._events.put((child, line.rstrip("\r\n")))
        # A server that ended at once may have listened before.
        report.join()
        self._events.put((child, None))

    def _read_report(self, child: Child, reader: int) -> None:
        # Without a line, the program ended before it listened.
        with open(reader) as pipe, suppress(ValueError):
            self._events.put((child, Ready.parse(pipe.readline())))
