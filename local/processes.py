"""Child processes, started, listened to and ended together; none outlives the process that started them."""

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

STOP_S = 4.0
"""Seconds between SIGTERM and SIGKILL: the programs promise to end within five, and so does this one."""


@dataclass(eq=False)
class Child:
    """One program; `exit_code` is None while it runs, and 128 + N after signal N."""

    name: str
    process: "subprocess.Popen[str]"
    exit_code: int | None = None


class Processes:
    """The children, as a context: leaving it ends those that still run."""

    def __init__(self, root: Path, on_line: Callable[[str, str], None]) -> None:
        """Start programs in the folder `root`; `on_line` takes a child's name and a line that it wrote."""
        self._root = root
        self._on_line = on_line
        self._children: list[Child] = []
        self._events: queue.SimpleQueue[tuple[Child, str | None]] = queue.SimpleQueue()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.end(self._children)

    def start(self, name: str, module: str, environment: Mapping[str, str]) -> Child:
        """Run a Python module as a program."""
        process = subprocess.Popen(
            [sys.executable, "-m", "local.child", str(os.getpid()), module],
            cwd=self._root,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            start_new_session=True,  # or Ctrl-C would reach it twice: from the terminal, and from here
        )
        child = Child(name, process)
        self._children.append(child)
        threading.Thread(target=self._listen, args=(child,), daemon=True).start()
        return child

    def wait(self, timeout_s: float, until: Callable[[], bool] = lambda: False) -> Child | None:
        """Hand on lines until a child ends, and give it; None when `until` holds or the time is over."""
        deadline = time.monotonic() + timeout_s
        while not until():
            try:
                child, line = self._events.get(timeout=max(0.0, deadline - time.monotonic()))
            except queue.Empty:
                return None
            if line is None:
                code = child.process.wait()
                child.exit_code = code if code >= 0 else 128 - code
                return child
            self._on_line(child.name, line)
        return None

    def wait_for(self, children: Iterable[Child], timeout_s: float) -> bool:
        """Wait until all of some children have ended; whether they have."""
        children = list(children)
        deadline = time.monotonic() + timeout_s
        while any(child.exit_code is None for child in children):
            if self.wait(max(0.0, deadline - time.monotonic())) is None:
                return False
        return True

    def end(self, children: Iterable[Child]) -> None:
        """Send SIGTERM to those that run, and SIGKILL to those that then stay."""
        children = list(children)[::-1]  # the server last, so that no client dials it again
        for number in (signal.SIGTERM, signal.SIGKILL):
            for child in children:
                if child.process.poll() is None:
                    with suppress(ProcessLookupError):
                        os.killpg(child.process.pid, number)
            if self.wait_for(children, STOP_S):
                return

    def _listen(self, child: Child) -> None:
        with child.process as process:
            for line in process.stdout or ():
                self._events.put((child, line.rstrip("\r\n")))
        self._events.put((child, None))
