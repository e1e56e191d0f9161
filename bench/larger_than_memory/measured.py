"""What one training has measured, by the script or by the task."""

import json
from dataclasses import dataclass
from pathlib import Path

from bench.larger_than_memory import script
from fedmx import cgroups

# Versions 1 and 2 of control groups: memory of processes, without the page cache, which the kernel frees.
_PROCESSES = ("total_rss", "anon")


@dataclass(frozen=True)
class Plan:
    """What is trained.

    Attributes:
        folder: of the dataset.
        kind: of `sets.KINDS`.
        network: `small` or `medium`.
        epochs: to train, all of which count.
    """

    folder: Path
    kind: str
    network: str
    epochs: int

    def script_arguments(self, folder: Path, workers: int) -> list[str]:
        """Return the module and the arguments of the script, which finds the data in a folder."""
        return [script.__name__, str(folder), self.kind, self.network, str(self.epochs), str(workers)]

    def task_settings(self, folder: Path) -> dict[str, str]:
        """Return the settings of a run of one client, which finds the data in a folder."""
        return {
            "TASK": "bench.larger_than_memory.task",
            "TASK_OPTIONS": json.dumps({"kind": self.kind, "network": self.network}),
            "DATA_DIR": str(folder),
            "NUM_ROUNDS": str(self.epochs),
            "LOCAL_EPOCHS": "1",
            "MIN_CLIENTS": "1",
            "PARTITION": "none",
            "BATCH_SIZE": str(script.BATCH_SIZE),
            "LEARNING_RATE": str(script.LEARNING_RATE),
        }


@dataclass(frozen=True)
class Measured:
    """One training.

    Attributes:
        rate: examples per second of training, over all epochs.
        peak: bytes of the container's processes at most; 0 outside of a container.
    """

    rate: float
    peak: int = 0

    @classmethod
    def of_script(cls, output: str, peak: int = 0) -> "Measured":
        """Read the lines that the script prints."""
        examples, *seconds = map(float, output.split())
        return cls(examples * len(seconds) / sum(seconds), peak)

    @classmethod
    def of_history(cls, text: str, peak: int = 0) -> "Measured":
        """Read a run's `history.jsonl`."""
        rounds = [json.loads(line) for line in text.splitlines()]
        examples = sum(each["train"]["num_examples"] for each in rounds)
        return cls(examples / sum(each["seconds"]["train"] for each in rounds), peak)


def read_memory(process: int) -> int:
    """Return the bytes in use by the processes of a container, without the page cache.

    Args:
        process: one of them, as the machine numbers it.
    """
    for group in cgroups.list_groups("memory", own=Path(f"/proc/{process}/cgroup")):
        for line in cgroups.read(group / "memory.stat").splitlines():
            name, _, count = line.partition(" ")
            if name in _PROCESSES:
                return int(count)
    return 0
