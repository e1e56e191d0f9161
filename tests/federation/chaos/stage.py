"""A federation of programs that die at given points, start again quickly, and note what they train.

A program runs in a process forked from one that has imported all of it, in which neither gRPC nor MXNet's
engine has started a thread.
"""

import contextlib
import importlib
import multiprocessing
import os
import signal
import sys
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from client.settings import load_settings
from fedmx.link import backoff
from fedmx.program import run_program
from server import serving
from tests.federation.chaos.killing import note_calls
from tests.federation.programs import TASKS, Federation, Program, make_environment

_CONTEXT = multiprocessing.get_context("forkserver")
_CONTEXT.set_forkserver_preload(["server.serving", "client.messages", __name__])

Training = tuple[int, int]
"""A round and a partition."""


class Fault(Protocol):
    """What is wrong with a program."""

    def arm(self) -> None:
        """Apply it to this process, before the program begins."""


class Forked:
    """A program's process, as `subprocess.Popen` shows one."""

    def __init__(self, part: "_Part") -> None:
        self._process = _CONTEXT.Process(target=part.play, daemon=True)
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


class Stage(Federation):
    """A federation of such programs.

    Beside its settings a program may be given `fault`: where it dies, or what else is wrong with it.
    """

    @property
    def trainings(self) -> Counter[Training]:
        """How often each partition's training of each round was begun, by whichever node."""
        path = self.folder / "trainings"
        lines = path.read_text().splitlines() if path.exists() else []
        return Counter((int(number), int(partition)) for number, partition in map(str.split, lines))

    @property
    def halves(self) -> list[Path]:
        """What is in the runs folder and no part of a run: halves of files that were being written."""
        return [path for path in self.runs_dir.rglob(".*") if path.name not in (".lock", ".ballast")]

    def _start(self, name: str, settings: dict[str, object]) -> Program:
        fault: Any = settings.pop("fault", None)
        path = self.folder / f"{name}-{len(self.programs)}.log"
        path.touch()
        trainings = self.folder / "trainings" if name == "client" else None
        process = Forked(_Part(name, make_environment(settings), path, fault, trainings))
        self.programs.append(Program(process, path))
        return self.programs[-1]


@dataclass(frozen=True)
class _Part:
    """What a process is to be: `python -m server` or `python -m client`."""

    name: str
    environ: Mapping[str, str]
    log: Path
    fault: Fault | None
    trainings: Path | None

    def play(self) -> None:
        file = os.open(self.log, os.O_WRONLY | os.O_APPEND)
        os.dup2(file, 1)
        os.dup2(file, 2)
        os.environ.clear()
        os.environ.update(self.environ)
        # The process that this one was forked from has parsed the settings of its own environment.
        load_settings.cache_clear()
        sys.argv = [self.name]
        sys.path.insert(0, str(TASKS))
        program = importlib.import_module(f"{self.name}.__main__")
        backoff._LONGEST_PAUSE_S = 0.2  # a server that is killed is started again at once
        serving._LINGER_S = 0.5
        if self.trainings is not None:
            note_calls("client.trainer:Trainer.train", self.trainings, _describe_training)
        if self.fault is not None:
            self.fault.arm()
        run_program(program.main)


def _describe_training(*args: Any) -> str:
    _, number, partition = args[-1]  # the seed
    return f"{number} {partition}"
