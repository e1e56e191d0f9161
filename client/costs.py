"""What a round of a task costs a node, and how that is shown."""

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
        frozen_parameters: of these, numbers that no node trains.
        model_bytes: size of all arrays.
        bytes_down: sent to a node in each round: the arrays that are not frozen, to train and to evaluate.
        bytes_up: sent by a node in each round.
        bytes_once: frozen arrays that are sent to a node once, because they depend on the run's seed.
        train_examples: of the training set.
        test_examples: of the test set.
        timed_examples: from how many the next number is estimated.
        seconds_per_epoch: on all of the training set.
        memory_bytes: at most, in addition to `base_bytes`.
        base_bytes: of Python and MXNet before the task is imported.
        device: that was trained on.
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
    bytes_up: int
    bytes_once: int
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
        """Yield the costs as a table, with a heading."""
        frozen = f", of which {self.frozen_parameters} are frozen" if self.frozen_parameters else ""
        once = f"; once {_show_bytes(self.bytes_once)} of frozen arrays" if self.bytes_once else ""
        rows = {
            "parameters": f"{self.parameters} in {self.arrays} arrays{frozen}",
            "data": f"{self.train_examples} training examples, {self.test_examples} test examples",
            "bytes per round": f"{_show_bytes(self.bytes_down)} to a node,"
            f" {_show_bytes(self.bytes_up)} from it{once}",
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
