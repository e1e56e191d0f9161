"""Counts a network's outputs by class during an evaluation, for metrics that are not means over examples."""

from typing import Any

import numpy as np

from client.classifier import Classifier
from client.mx import mx
from fedmx.class_counts import MOST_CLASSES, MOST_EXAMPLES, ClassCounts

# The most numbers held on the device: reading them waits for MXNet's engine, so it is not done per batch.
_MOST_HELD = 2**20


class ClassCounter:
    """Counts the examples of one evaluation.

    Args:
        classifier: interprets the outputs.

    Attributes:
        classes: the number of classes; 0 before the first batch, and if its outputs and labels are not one
            class per example or have too many classes to count.
    """

    def __init__(self, classifier: Classifier) -> None:
        self.classes = 0
        self._classifier = classifier
        self._held: list[tuple[mx.nd.NDArray, mx.nd.NDArray]] = []
        self._size = 0
        self._examples = 0
        self._counts: ClassCounts | None = None
        # Once a label is not a class, the counts of the others would be misleading.
        self._is_countable = True

    def add(self, outputs: Any, labels: mx.nd.NDArray) -> None:
        """Add a batch."""
        if not self._is_countable:
            return
        classes = self._classifier.count_classes(outputs)
        if not 0 < classes <= MOST_CLASSES or not _are_one_each(outputs, labels, classes):
            self._give_up()
            return
        self.classes = classes
        self._examples += len(labels)
        self._held.append((outputs.as_nd_ndarray(), labels.as_nd_ndarray()))
        self._size += outputs.size
        if self._size > _MOST_HELD:
            self._count()

    def read(self) -> ClassCounts | None:
        """Wait for the device and return the counts; None if an output or a label is not a class."""
        if self._is_countable and self._examples <= MOST_EXAMPLES:
            self._count()
        return self._counts

    def _count(self) -> None:
        if not self._held:
            return
        outputs, labels = (mx.nd.concat(*arrays, dim=0) for arrays in zip(*self._held, strict=True))
        self._held.clear()
        self._size = 0
        probabilities = self._classifier.find_probabilities(outputs)
        numbers = self._classifier.find_numbers(labels.asnumpy().reshape(-1))
        are_classes = (numbers >= 0) & (numbers < self.classes) & (numbers == np.floor(numbers))
        if probabilities is None or not np.isfinite(probabilities).all() or not are_classes.all():
            self._give_up()
            return
        counts = ClassCounts.count(probabilities.reshape(len(numbers), -1), numbers.astype(np.int64))
        self._counts = counts if self._counts is None else self._counts + counts

    def _give_up(self) -> None:
        self._is_countable = False
        self._counts = None
        self._held.clear()


def _are_one_each(outputs: mx.nd.NDArray, labels: mx.nd.NDArray, classes: int) -> bool:
    """Whether there is one label per example, and either one output or one for each class."""
    count = len(labels)
    return len(outputs) == count == labels.size and outputs.size in (count, classes * count)
