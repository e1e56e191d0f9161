"""A federation of programs that die at given points, start again quickly, and note what they train."""

from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from fedmx.link import backoff
from server import serving
from tests.federation.chaos.killing import note_calls
from tests.federation.forked import Forked, Part
from tests.federation.programs import Federation, Process, make_environment

Training = tuple[int, int]
"""A round and a partition."""


class Fault(Protocol):
    """What is wrong with a program."""

    def arm(self) -> None:
        """Apply it to this process, before the program begins."""


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

    def _launch(self, name: str, settings: dict[str, object], log: Path) -> Process:
        fault: Any = settings.pop("fault", None)
        trainings = self.folder / "trainings" if name == "client" else None
        return Forked(_Part(name, make_environment(settings), log, fault, trainings).play)


@dataclass(frozen=True)
class _Part(Part):
    """A program with a fault, whose trainings are noted in a file."""

    fault: Fault | None
    trainings: Path | None

    def prepare(self) -> None:
        backoff._LONGEST_PAUSE_S = 0.2  # a server that is killed is started again at once
        serving._LINGER_S = 0.5
        if self.trainings is not None:
            note_calls("client.trainer:Trainer.train", self.trainings, _describe_training)
        if self.fault is not None:
            self.fault.arm()


def _describe_training(*args: Any) -> str:
    _, number, partition = args[-1]  # the seed
    return f"{number} {partition}"
