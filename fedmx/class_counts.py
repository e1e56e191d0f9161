"""Counts of a classification, which can be summed: a confusion matrix, and histograms of scores.

F1 and AUC, the area under the ROC curve, are not means over examples. So a node counts its examples, and both
are computed from the counts of one node, or from the sum of all of them.

A score is the logit of a class's probability, log(p / (1 - p)). Scores in one bin count as equal. AUC is a
share of pairs, of an example of the class and one of another: it differs from its exact value by at most half
the share of pairs that fall into one bin.
"""

import math
import zlib
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from flwr.app import ConfigRecord
from numpy.typing import NDArray

AUC, F1 = "auc", "f1"
DERIVED = (F1, AUC)
"""Names of the metrics that are computed from counts."""

RECORD = "counts"
"""The name of the record with the counts in a reply to an evaluate message."""

MOST_CLASSES = 100
"""With more classes, a node counts nothing."""

BINS = 512
# Bins per unit of the logit: the outermost ones begin at -16 and at 16, probabilities of 1e-7 and 1 - 1e-7.
_PER_UNIT = 16
_BINARY = 2
# A histogram of the examples of other classes, and one of those of the class.
_SIDES = 2
_WIRE_DTYPE = np.dtype("<u4")
MOST_EXAMPLES = 2**32 - 1
# Most bins are empty, which the fastest level compresses as well.
_LEVEL = 1

Counts = NDArray[Any]


@dataclass(frozen=True, eq=False)
class ClassCounts:
    """The counts of some examples.

    Attributes:
        confusion: integers (classes, classes), labels along the first axis, predictions along the second.
        scores: integers (curves, 2, BINS): examples of other classes and of the class, by the class's score.
            Two classes have one curve, that of class 1; more have one for each class.
    """

    confusion: Counts
    scores: Counts

    @classmethod
    def count(cls, probabilities: NDArray[np.float64], labels: NDArray[np.int64]) -> "ClassCounts":
        """Count examples.

        Args:
            probabilities: of each class (n, classes).
            labels: class numbers (n,).
        """
        classes = probabilities.shape[1]
        places = labels * classes + probabilities.argmax(axis=1)
        confusion = np.bincount(places, minlength=classes**2).reshape(classes, classes)
        first = _find_first_curve(classes)
        bins = _find_bins(probabilities[:, first:])
        curves = np.arange(bins.shape[1])
        bins += curves * (_SIDES * BINS)
        bins += BINS * (labels[:, None] == curves + first)
        scores = np.bincount(bins.reshape(-1), minlength=len(curves) * _SIDES * BINS)
        return cls(confusion, scores.reshape(len(curves), _SIDES, BINS))

    @classmethod
    def from_record(cls, record: ConfigRecord, classes: int, examples: float) -> "ClassCounts":
        """Read the counts of a node.

        Args:
            record: a part of its reply.
            classes: the number of classes that they must have.
            examples: the number of examples that they must have.

        Raises:
            ValueError: they are not the counts of so many examples.
        """
        curves = classes - _find_first_curve(classes)
        confusion = _read(record, "confusion", (classes, classes)).astype(np.int64)
        counts = cls(confusion, _read(record, "scores", (curves, _SIDES, BINS)))
        found = counts.examples
        if found != examples:
            raise ValueError(f"a confusion matrix of {found} examples, expected {examples}")
        own = counts.confusion.sum(axis=1)[-curves:]
        if (counts.scores.sum(axis=2) != np.stack([found - own, own], axis=1)).any():
            raise ValueError("scores of other numbers of examples per class than the confusion matrix")
        return counts

    def to_record(self) -> ConfigRecord:
        """Return them as a part of a node's reply."""
        return ConfigRecord({"confusion": _pack(self.confusion), "scores": _pack(self.scores)})

    @property
    def examples(self) -> int:
        """The number of examples."""
        return int(self.confusion.sum())

    def __add__(self, other: "ClassCounts") -> "ClassCounts":
        return ClassCounts(
            np.add(self.confusion, other.confusion, dtype=np.int64),
            np.add(self.scores, other.scores, dtype=np.int64),
        )

    def measure(self) -> dict[str, float]:
        """Return F1 and AUC: of class 1 of two classes, or else the mean over the classes that define it.

        F1 of a class is defined if it is a label or a prediction of any example, AUC if it is the label of
        some examples and not of others. Without such a class, the value is NaN.
        """
        return {F1: self._measure_f1(), AUC: self._measure_auc()}

    def _measure_f1(self) -> float:
        first = _find_first_curve(len(self.confusion))
        hits = self.confusion.diagonal()[first:]
        # 2 tp + fp + fn.
        totals = (self.confusion.sum(axis=0) + self.confusion.sum(axis=1))[first:]
        return _average(2 * hits, totals)

    def _measure_auc(self) -> float:
        others, own = np.moveaxis(self.scores.astype(np.float64), 1, 0)
        below = np.cumsum(others, axis=1) - others
        wins = (own * (below + others / 2)).sum(axis=1)
        return _average(wins, own.sum(axis=1) * others.sum(axis=1))


def add_all(counted: Iterable[ClassCounts | None]) -> ClassCounts | None:
    """Return the sum of several nodes' counts; None if there are none, or if one has none."""
    total: ClassCounts | None = None
    for counts in counted:
        if counts is None:
            return None
        total = counts if total is None else total + counts
    return total


def measure_all(counted: Iterable[ClassCounts | None]) -> dict[str, float]:
    """Return the defined metrics of the sum of several nodes' counts; empty if there is no sum."""
    total = add_all(counted)
    measured = {} if total is None else total.measure()
    return {name: value for name, value in measured.items() if math.isfinite(value)}


def _find_first_curve(classes: int) -> int:
    """Return the first class that is measured: with two, the scores of one determine the other's."""
    return 1 if classes == _BINARY else 0


def _find_bins(probabilities: NDArray[np.float64]) -> NDArray[np.int64]:
    """Return the bin of each probability."""
    # Logarithms of probabilities that a task returns may be of sums that are slightly above 1.
    kept = np.clip(probabilities, 0, 1)
    with np.errstate(divide="ignore"):
        logits = np.log(kept) - np.log1p(-kept)
    bins = np.floor(np.clip(logits * _PER_UNIT + BINS // 2, 0, BINS - 1))
    return np.asarray(bins.astype(np.int64))


def _average(parts: Counts, wholes: Counts) -> float:
    """Return the mean of the shares whose whole is not 0; NaN if there is none."""
    is_defined = wholes > 0
    return float((parts[is_defined] / wholes[is_defined]).mean()) if is_defined.any() else math.nan


def _pack(counts: Counts) -> bytes:
    return zlib.compress(counts.astype(_WIRE_DTYPE).tobytes(), _LEVEL)


def _read(record: ConfigRecord, name: str, shape: tuple[int, ...]) -> Counts:
    """Read counts that came over the wire.

    Raises:
        ValueError: they are missing, cannot be decompressed, or have another size.
    """
    value = record.get(name)
    if not isinstance(value, bytes):
        raise ValueError(f"{name} is {'missing' if value is None else 'not bytes'}")  # noqa: TRY004 - one kind
    size = math.prod(shape) * _WIRE_DTYPE.itemsize
    unpacker = zlib.decompressobj()
    try:
        # One byte more shows that there are too many, however many there are.
        data = unpacker.decompress(value, size + 1)
    except zlib.error:
        raise ValueError(f"{name} cannot be decompressed") from None
    if len(data) != size or not unpacker.eof:
        raise ValueError(f"{name} is not {size} bytes after decompression, as {shape} counts are")
    return np.frombuffer(data, _WIRE_DTYPE).reshape(shape)
