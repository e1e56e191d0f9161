"""What a round of a task costs a node, and a table of it."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

_UNITS = (("GB", 1e9), ("MB", 1e6), ("kB", 1e3))


@dataclass(frozen=True)
class Costs:
    """What a round costs a node that has all of the data.

    Attributes:
        task: the module.
        arrays: number of the network's arrays.
        parameters: numbers in all of them.
        frozen_parameters: numbers in the arrays that no node trains, included in `parameters`.
        model_bytes: size of all arrays.
        bytes_down: arrays that a node receives in each round after the first.
        bytes_down_in_round_1: arrays that a node receives in the first round.
        bytes_up: arrays that a node sends in each round.
        train_examples: number of examples in the training set.
        test_examples: number of examples in the test set.
        timed_examples: number of examples from which `seconds_per_epoch` is estimated.
        seconds_per_epoch: estimate for one epoch on the whole training set.
        memory_bytes: peak memory, in addition to `base_bytes`.
        base_bytes: memory of Python and MXNet before the task is imported.
        device: names of the devices that trained.
        train: the metrics of training.
        evaluate: the metrics of the averaged model.
        is_repeatable: whether the same seed led to the same arrays twice.
    """

    task: str
    arrays: int
    parameters: int
    frozen_parameters: int
    model_bytes: int
    bytes_down: int
    bytes_down_in_round_1: int
    bytes_up: int
    train_examples: int
    test_examples: int
    timed_examples: int
    seconds_per_epoch: float
    memory_bytes: int
    base_bytes: int
    device: str
    train: Mapping[str, float]
    evaluate: Mapping[str, float]
    is_repeatable: bool

    def to_lines(self) -> Iterator[str]:
        """Yield the lines of a table of the costs, the first one as a heading."""
        frozen = f", of which {self.frozen_parameters} are frozen" if self.frozen_parameters else ""
        rows = {
            "parameters": f"{self.parameters} in {self.arrays} arrays{frozen}",
            "data": f"{self.train_examples} training examples, {self.test_examples} test examples",
            "bytes per round": f"{_show_bytes(self.bytes_down)} to a node"
            f" ({_show_bytes(self.bytes_down_in_round_1)} in round 1), {_show_bytes(self.bytes_up)} from it",
            "seconds per epoch": f"{self.seconds_per_epoch:.3g} on {self.device}, estimated from"
            f" {self.timed_examples} examples",
            "memory": f"{_show_bytes(self.memory_bytes)} with all of this data, in addition to"
            f" {_show_bytes(self.base_bytes)} of Python and MXNet",
            "training": _show_metrics(self.train),
            "evaluation": _show_metrics(self.evaluate),
            "repeatable": "yes"
            if self.is_repeatable
            else "no: the same seed led to other arrays, so a resumed run would not end with the same model",
        }
        width = max(map(len, rows)) + 2
        yield f"{self.task}: a round of two nodes works"
        yield from (f"  {name:<{width}}{value}" for name, value in rows.items())


def _show_metrics(metrics: Mapping[str, float]) -> str:
    return ", ".join(f"{name} {value:.4g}" for name, value in metrics.items()) or "no metrics"


def _show_bytes(size: float) -> str:
    for unit, factor in _UNITS:
        if size >= factor:
            return f"{size / factor:.3g} {unit}"
    return f"{size:g} bytes"
