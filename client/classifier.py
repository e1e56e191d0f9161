"""Interprets a network's outputs as classes, if the task's loss or its CLASSES imply that they are."""

import sys
from dataclasses import dataclass
from types import ModuleType
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from client.mx import gluon, mx
from client.task import Task, computes_as
from client.task_errors import task_errors
from client.task_functions import pass_by_name

_BINARY = ("0", "1")
_SIGNED = ("-1", "1")
_TOLERANCE = 1e-3


@dataclass(frozen=True)
class Classifier:
    """How the outputs of a network encode classes.

    Attributes:
        kind: with an output per class, `scores`, `logarithms` of probabilities, or `either` probabilities or
            scores; with one output for two classes, its `score` or its `probability`.
        axis: the axis of the classes.
        names: names of the classes; ignored unless there is one for each class.
        is_signed: whether the labels of two classes are -1 and 1.
    """

    kind: Literal["scores", "logarithms", "either", "score", "probability"]
    axis: int = -1
    names: tuple[str, ...] = ()
    is_signed: bool = False

    def count_classes(self, outputs: Any) -> int:
        """Return the number of classes of a network's outputs; 0 if they are not classes."""
        if not isinstance(outputs, mx.nd.NDArray):
            return 0
        if self.kind in ("score", "probability"):
            # Otherwise there are several labels per example, any number of which may apply.
            return 2 if outputs.size == len(outputs) else 0
        classes = outputs.shape[self.axis] if outputs.ndim > 1 else 1
        if self.kind == "either" and len(self.names) != classes:
            return 0
        return int(classes) if classes > 1 else 0

    def find_probabilities(self, outputs: Any) -> NDArray[np.float64] | None:
        """Return the probability of each class for some examples.

        Args:
            outputs: of the network for these examples, usually an array (n, ...).

        Returns:
            float64 (n, classes, ...), or None if the outputs are not classes.
        """
        if not self.count_classes(outputs):
            return None
        values: NDArray[np.float64] = outputs.asnumpy().astype(np.float64)
        if self.kind in ("score", "probability"):
            above = values.reshape(-1)
            if self.kind == "score":
                # Far below 0, the power is infinite and the probability 0.
                with np.errstate(over="ignore"):
                    above = 1 / (1 + np.exp(-above))
            return np.asarray(np.stack([1 - above, above], axis=1))
        values = np.asarray(np.moveaxis(values, self.axis, 1))
        return self._normalize(values)

    def find_numbers(self, labels: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return the class numbers, from 0, of labels of any shape."""
        return (labels + 1) / 2 if self.is_signed else labels

    def name_all(self, count: int) -> list[str]:
        """Return a name for each of `count` classes: the task's, or numbers if it does not name each one."""
        return list(self.names) if len(self.names) == count else [str(number) for number in range(count)]

    def _normalize(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        if self.kind == "logarithms":
            return np.asarray(np.exp(values))
        are_probabilities = values.min() >= 0 and bool((abs(values.sum(axis=1) - 1) < _TOLERANCE).all())
        if self.kind == "either" and are_probabilities:
            return values
        # Outputs of a model that has diverged may be infinite: they become NaN.
        with np.errstate(invalid="ignore"):
            powers = np.exp(values - values.max(axis=1, keepdims=True))
            return np.asarray(powers / powers.sum(axis=1, keepdims=True))


def find_classifier(task: Task) -> Classifier | None:
    """Return how a task's outputs encode classes; None if neither its loss nor its CLASSES imply that."""
    # A task may have been built by hand.
    module = sys.modules.get(task.name)
    names = _find_names(module, task)
    # A task with a loop of its own may have no loss: the default one is then meaningless.
    loss: Any = task.loss if task.train is None or hasattr(module, "loss") else None
    # gluon has no public way to read the options of a loss.
    if computes_as(loss, gluon.loss.SoftmaxCrossEntropyLoss):
        kind: Literal["scores", "logarithms"] = "logarithms" if loss._from_logits else "scores"  # noqa: SLF001
        return Classifier(kind, loss._axis, names)  # noqa: SLF001
    if computes_as(loss, gluon.loss.SigmoidBinaryCrossEntropyLoss):
        return Classifier("probability" if loss._from_sigmoid else "score", names=names or _BINARY)  # noqa: SLF001
    if computes_as(loss, gluon.loss.LogisticLoss):
        is_signed = loss._label_format == "signed"  # noqa: SLF001
        return Classifier("score", names=names or (_SIGNED if is_signed else _BINARY), is_signed=is_signed)
    return Classifier("either", names=names) if names else None


def _find_names(module: ModuleType | None, task: Task) -> tuple[str, ...]:
    """Return CLASSES of a task; empty if it is not a list of names, but a number of classes, for example."""
    names = getattr(module, "CLASSES", ())
    if callable(names):
        with task_errors(task.name, "CLASSES()"):
            names = names(**pass_by_name(names, options=task.options, schema=task.schema))
    is_list = isinstance(names, tuple | list) and all(isinstance(name, str) for name in names)
    return tuple(names) if is_list else ()
