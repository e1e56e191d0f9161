"""A program under the supervisor of containers, which does what a test tells it."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from tests.bounds import HANG_S

ROOT = Path(__file__).parents[2]


# Each start of the child leaves a line with its process id, and then does what the test says.
CHILD = """
import os, signal, subprocess, sys, time
from pathlib import Path

def note(text):
    with open("starts", "a") as file:
        file.write(f"{{os.getpid()}} {{text}}\\n")

start = len(Path("starts").read_text().splitlines()) + 1 if Path("starts").exists() else 1
{body}
"""


WAITS = "note('started')\ntime.sleep(60)"


QUICK = "from fedmx import supervisor; supervisor._PAUSES_S = (0.01,) * 5; supervisor.main()"


SLOW = "from fedmx import supervisor; supervisor._PAUSES_S = (60.0,) * 5; supervisor.main()"


class Supervised:
    """A supervisor of a script."""

    def __init__(self, folder: Path, body: str, program: str, health_file: str) -> None:
        self.folder = folder
        (folder / "server.py").write_text(CHILD.format(body=body))
        self.process = subprocess.Popen(
            [sys.executable, "-c", program, "server", *([health_file] if health_file else [])],
            cwd=folder,
            env={"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), "RUNS_DIR": str(folder / "runs")},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    @property
    def starts(self) -> list[tuple[int, str]]:
        path = self.folder / "starts"
        lines = path.read_text().splitlines() if path.exists() else []
        return [(int(pid), text) for pid, _, text in (line.partition(" ") for line in lines)]

    def wait_for_start(self, count: int = 1) -> int:
        """Return the process id of the child of the n-th start."""
        wait_until(lambda: len(self.starts) >= count)
        return self.starts[count - 1][0]

    def read_line(self) -> str:
        assert self.process.stdout is not None
        return self.process.stdout.readline()

    def end(self) -> tuple[int, str]:
        """Return the exit code and all that was logged."""
        output, _ = self.process.communicate(timeout=HANG_S)
        return self.process.returncode, output

    def kill(self) -> None:
        with self.process:
            self.process.kill()
        for pid in {pid for pid, _ in self.starts}:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)


def wait_until(is_true: Callable[[], bool]) -> None:
    deadline = time.monotonic() + HANG_S
    while not is_true():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False
