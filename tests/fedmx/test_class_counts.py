"""F1, AUC and confusion matrices from counts: against numbers worked out by hand, and against exact ones."""

import math
import zlib
from typing import Any

import numpy as np
import pytest
from flwr.app import ConfigRecord
from numpy.typing import NDArray

from fedmx.class_counts import BINS, ClassCounts, add_all, measure_all

Floats = NDArray[np.float64]
Labels = NDArray[np.int64]


def binary(above: list[float], labels: list[int]) -> ClassCounts:
    """Count examples of two classes by the probability of class 1."""
    above_ = np.array(above)
    return ClassCounts.count(np.stack([1 - above_, above_], axis=1), np.array(labels))


def draw(classes: int, count: int, seed: int, spread: float = 3.0) -> tuple[Floats, Labels]:
    """Draw labels, and probabilities that are somewhat higher for the label's class."""
    random = np.random.default_rng(seed)
    labels = random.integers(0, classes, count)
    scores = random.normal(size=(count, classes)) * spread + 2 * np.eye(classes)[labels]
    powers = np.exp(scores)
    return powers / powers.sum(axis=1, keepdims=True), labels


def exact_auc(scores: Floats, is_own: NDArray[np.bool_]) -> float:
    """Compare each example of a class with each other one; ties count half."""
    own, others = scores[is_own][:, None], scores[~is_own][None]
    return float((own > others).mean() + (own == others).mean() / 2)


def exact_f1(labels: Labels, predicted: Labels, number: int) -> float:
    hits = int(((labels == number) & (predicted == number)).sum())
    return 2 * hits / int((labels == number).sum() + (predicted == number).sum())


def bound_error(counts: ClassCounts, curve: int) -> float:
    """Return half the share of pairs in one bin."""
    others, own = counts.scores[curve].astype(float)
    return float((others * own).sum() / (others.sum() * own.sum()) / 2)


def test_two_classes_are_measured_by_class_1() -> None:
    counts = binary([0.9, 0.8, 0.3, 0.6, 0.2, 0.1], [1, 1, 1, 0, 0, 0])
    assert counts.confusion.tolist() == [[2, 1], [1, 2]]
    # By hand: 2 tp / (2 tp + fp + fn) = 4 / 6; 8 of 9 pairs are in order.
    assert counts.measure() == {"f1": pytest.approx(4 / 6), "auc": pytest.approx(8 / 9)}


def test_equal_scores_are_half_in_order() -> None:
    # By hand: of 4 pairs, 2 are ties, 1 is in order, 1 is not.
    assert binary([0.5, 0.25, 0.5, 0.25], [1, 1, 0, 0]).measure()["auc"] == pytest.approx(2 / 4)
    assert binary([0.7, 0.7, 0.7], [1, 0, 0]).measure()["auc"] == 0.5


def test_several_classes_are_measured_by_the_mean_of_their_values() -> None:
    probabilities = np.array([[0.7, 0.2, 0.1], [0.5, 0.3, 0.2], [0.2, 0.6, 0.2], [0.1, 0.2, 0.7]])
    counts = ClassCounts.count(probabilities, np.array([0, 1, 1, 2]))
    assert counts.confusion.tolist() == [[1, 0, 0], [1, 1, 0], [0, 0, 1]]
    # By hand: 2/3, 2/3 and 1.
    assert counts.measure()["f1"] == pytest.approx((2 / 3 + 2 / 3 + 1) / 3)
    # Class 0: 3 of 3 pairs. Class 1: 0.3 and 0.6 against twice 0.2, 4 of 4. Class 2: 3 of 3.
    assert counts.measure()["auc"] == 1.0


@pytest.mark.parametrize(("classes", "count"), [(2, 3000), (3, 500), (10, 4000)])
def test_auc_is_within_half_of_the_pairs_that_share_a_bin(classes: int, count: int) -> None:
    probabilities, labels = draw(classes, count, seed=classes)
    counts = ClassCounts.count(probabilities, labels)
    measured = [1] if classes == 2 else list(range(classes))
    exact = [exact_auc(probabilities[:, number], labels == number) for number in measured]
    bound = np.mean([bound_error(counts, curve) for curve in range(len(measured))])
    error = abs(counts.measure()["auc"] - np.mean(exact))
    assert error <= bound < 0.01
    # In practice far below it: within a bin, the order is nearly as often right as wrong.
    assert error < 0.001


def test_f1_is_that_of_the_predictions() -> None:
    probabilities, labels = draw(5, 700, seed=1)
    predicted = probabilities.argmax(axis=1)
    expected = np.mean([exact_f1(labels, predicted, number) for number in range(5)])
    assert ClassCounts.count(probabilities, labels).measure()["f1"] == pytest.approx(expected)


def test_the_sum_of_sites_is_measured_as_all_examples_together() -> None:
    probabilities, labels = draw(4, 900, seed=2)
    order = np.argsort(labels, kind="stable")
    parts = [ClassCounts.count(probabilities[some], labels[some]) for some in np.array_split(order, 7)]
    together = ClassCounts.count(probabilities, labels)
    total = add_all(parts)
    assert total is not None
    assert (total.confusion == together.confusion).all()
    assert (total.scores == together.scores).all()
    assert measure_all(parts) == together.measure()


def test_the_mean_of_the_sites_values_would_be_another_number() -> None:
    # Each site orders its examples perfectly, on a scale of its own.
    sites = [binary([0.9, 0.8], [1, 0]), binary([0.2, 0.1], [1, 0])]
    assert [site.measure()["auc"] for site in sites] == [1.0, 1.0]
    assert measure_all(sites)["auc"] == 0.75


def test_a_class_that_a_site_lacks_leaves_its_auc_undefined_and_not_that_of_all() -> None:
    one, other = binary([0.9, 0.4], [1, 1]), binary([0.3, 0.6], [0, 0])
    assert math.isnan(one.measure()["auc"])
    assert one.measure()["f1"] == pytest.approx(2 / 3)
    assert measure_all([one]) == {"f1": pytest.approx(2 / 3)}
    # By hand: 0.9 > 0.3, 0.9 > 0.6, 0.4 > 0.3, 0.4 < 0.6.
    assert measure_all([one, other])["auc"] == 0.75


def test_neither_is_defined_where_class_1_is_neither_a_label_nor_a_prediction() -> None:
    assert [math.isnan(value) for value in binary([0.1, 0.2], [0, 0]).measure().values()] == [True, True]


def test_classes_without_a_value_are_left_out_of_the_mean() -> None:
    probabilities = np.array([[0.7, 0.2, 0.05, 0.05], [0.2, 0.7, 0.05, 0.05], [0.6, 0.3, 0.05, 0.05]])
    measured = ClassCounts.count(probabilities, np.array([0, 1, 1])).measure()
    # By hand: 2/3 and 2/3 for classes 0 and 1; class 2 and 3 are nowhere.
    assert measured == {"f1": pytest.approx(2 / 3), "auc": pytest.approx(1.0)}


def test_without_the_counts_of_one_site_there_is_no_sum() -> None:
    assert add_all([binary([0.5], [1]), None]) is None
    assert add_all([]) is None
    assert measure_all([None]) == {}


def test_probabilities_of_exactly_0_and_1_are_in_the_outermost_bins() -> None:
    counts = binary([0.0, 1.0, 1e-300, 1 - 1e-16], [0, 1, 0, 1])
    others, own = counts.scores[0]
    assert (others[0], others.sum(), own[BINS - 1], own.sum()) == (2, 2, 2, 2)


def test_a_record_has_the_counts() -> None:
    probabilities, labels = draw(10, 600, seed=3)
    counts = ClassCounts.count(probabilities, labels)
    record = counts.to_record()
    read = ClassCounts.from_record(record, 10, 600)
    assert (read.confusion == counts.confusion).all()
    assert (read.scores == counts.scores).all()
    assert sum(len(value) for value in record.values() if isinstance(value, bytes)) < 10_000


GOOD = binary([0.9, 0.2, 0.4], [1, 0, 1])


def pack(values: Any, dtype: str = "<u4") -> bytes:
    return zlib.compress(np.asarray(values).astype(dtype).tobytes())


def move_one(scores: NDArray[Any]) -> NDArray[Any]:
    """Move an example of class 1 to those of class 0."""
    moved = scores.astype(np.int64)
    place = moved[0, 1].argmax()
    moved[0, 1, place] -= 1
    moved[0, 0, place] += 1
    return moved


@pytest.mark.parametrize(
    ("entries", "reason"),
    [
        ({"confusion": None}, "confusion is missing"),
        ({"scores": None}, "scores is missing"),
        ({"confusion": [1, 2, 3, 4]}, "confusion is not bytes"),
        ({"confusion": b"no zlib"}, "confusion cannot be decompressed"),
        ({"confusion": pack(GOOD.confusion)[:-2]}, "confusion is not 16 bytes"),
        ({"confusion": pack(np.zeros((3, 3)))}, "confusion is not 16 bytes"),
        ({"confusion": pack(GOOD.confusion, "<u8")}, "confusion is not 16 bytes"),
        ({"scores": pack(np.zeros((2, 2, BINS)))}, "scores is not 4096 bytes"),
        # A thousand times its size after decompression.
        ({"scores": zlib.compress(bytes(2**26))}, "scores is not 4096 bytes"),
        ({"confusion": pack(2 * GOOD.confusion)}, "a confusion matrix of 6 examples, expected 3"),
        # -1 as it would be read.
        (
            {"confusion": pack([[1, 2], [1, -1]], "<i4")},
            "a confusion matrix of 4294967299 examples, expected 3",
        ),
        ({"scores": pack(0 * GOOD.scores)}, "scores of other numbers of examples per class"),
        ({"scores": pack(move_one(GOOD.scores))}, "scores of other numbers of examples per class"),
    ],
)
def test_counts_that_contradict_themselves_or_the_reply_are_rejected(
    entries: dict[str, Any], reason: str
) -> None:
    changed = {**GOOD.to_record(), **entries}
    record = ConfigRecord({name: value for name, value in changed.items() if value is not None})
    with pytest.raises(ValueError, match=f"^{reason}"):
        ClassCounts.from_record(record, 2, 3)
