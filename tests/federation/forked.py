"""Programs in processes forked from one that has imported all of them, which saves seconds for each.

In that process, neither gRPC nor MXNet's engine has started a thread.
"""

import contextlib
import importlib
import multiprocessing
import os
import signal
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from client.settings import load_settings
from fedmx import libraries
from fedmx.program import run_program

_ROOT = Path(__file__).parents[2]
_CONTEXT = multiprocessing.get_context("forkserver")
_CONTEXT.set_forkserver_preload(["server.serving", "client.messages", "numpy.testing", __name__])


class Forked:
    """A program's process, as `subprocess.Popen` shows one.

    Args:
        play: runs the program in the new process.
    """

    def __init__(self, play: Callable[[], None]) -> None:
        self._process = _CONTEXT.Process(target=play, daemon=True)
        self._process.start()
        self.pid: int = self._process.pid or 0

    @property
    def returncode(self) -> int | None:
        return self._process.exitcode

    def poll(self) -> int | None:
        return self._process.exitcode

    def wait(self, timeout: float | None = None) -> int:
        self._process.join(timeout)
        if self._process.exitcode is None:
            raise TimeoutError(f"process {self.pid} still runs after {timeout} s")
        return self._process.exitcode

    def send_signal(self, sig: int) -> None:
        if self._process.exitcode is None:
            with contextlib.suppress(ProcessLookupError):  # it ends just now
                os.kill(self.pid, sig)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)


@dataclass(frozen=True)
class Part:
    """What a process is to be: `python -m server` or `python -m client`.

    Attributes:
        name: of the program.
        environ: its whole environment.
        log: file for its output.
    """

    name: str
    environ: Mapping[str, str]
    log: Path

    def play(self) -> None:
        """Become the program."""
        file = os.open(self.log, os.O_WRONLY | os.O_APPEND)
        os.dup2(file, 1)
        os.dup2(file, 2)
        os.chdir(_ROOT)
        os.environ.clear()
        os.environ.update(self.environ)
        # The process that this one was forked from has done so with its own environment.
        libraries.silence()
        load_settings.cache_clear()
        sys.argv = [self.name]
        sys.path[:0] = self.environ.get("PYTHONPATH", "").split(os.pathsep)
        main = importlib.import_module(f"{self.name}.__main__").main
        self.prepare()
        run_program(main if self.name == "server" else lambda: _run_client(main))

    def prepare(self) -> None:
        """Change the program before it begins."""


def _run_client(main: Callable[[], None]) -> None:
    """Run a client; libraries read what its modules would set when they are imported."""
    libraries.set_omp_threads(load_settings().client_threads)
    libraries.set_cpu_isa(load_settings().cpu_isa)
    main()
