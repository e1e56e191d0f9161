"""Which outputs are counted by class during an evaluation, and that counting changes nothing else."""

from typing import Any

import numpy as np
import pytest

from client import training
from client.class_counter import ClassCounter
from client.classifier import Classifier
from client.metrics import COUNT
from client.mx import gluon, mx
from fedmx.class_counts import ClassCounts
from tests.client.given.small import CLASSES, how, make_clusters, make_mlp, make_task, scores_of


def count(classifier: Classifier, *batches: tuple[Any, Any]) -> tuple[int, ClassCounts | None]:
    counter = ClassCounter(classifier)
    for outputs, labels in batches:
        counter.add(mx.nd.array(outputs), mx.nd.array(labels))
    return counter.classes, counter.read()


def test_the_counts_of_an_evaluation_are_those_of_all_its_batches() -> None:
    net, data = make_mlp(), make_clusters(101)
    counter = ClassCounter(Classifier("scores"))
    measured = training.evaluate(net, CLASSES, data, how(batch_size=8), counter)
    assert measured == training.evaluate(net, CLASSES, data, how(batch_size=8))
    counts = counter.read()
    assert counts is not None
    scores = scores_of(net, data).astype(np.float64)
    powers = np.exp(scores)
    labels = data.labels.asnumpy().astype(np.int64)
    expected = ClassCounts.count(powers / powers.sum(axis=1, keepdims=True), labels)
    assert (counts.confusion == expected.confusion).all()
    assert counts.measure() == pytest.approx(expected.measure(), abs=1e-3)
    assert counts.examples == measured[COUNT] == 101
    assert counts.confusion.trace() / 101 == pytest.approx(measured["accuracy"])


def test_numbers_are_read_from_the_device_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    scores = np.random.default_rng(0).normal(size=(40, 3)).astype(np.float32)
    labels = np.arange(40) % 3
    batches = [(scores[start : start + 7], labels[start : start + 7]) for start in range(0, 40, 7)]
    _, at_once = count(Classifier("scores"), *batches)
    monkeypatch.setattr("client.class_counter._MOST_HELD", 30)
    _, in_parts = count(Classifier("scores"), *batches)
    assert at_once is not None
    assert in_parts is not None
    assert (at_once.scores == in_parts.scores).all()
    assert (at_once.confusion == in_parts.confusion).all()


@pytest.mark.parametrize(
    ("classifier", "outputs", "labels"),
    [
        (Classifier("score"), [[2.0], [-3.0], [1.0]], [1, 0, 0]),
        (Classifier("score"), [2.0, -3.0, 1.0], [[1], [0], [0]]),
        (Classifier("probability"), [[0.9], [0.1], [0.6]], [1, 0, 0]),
        (Classifier("score", is_signed=True), [[2.0], [-3.0], [1.0]], [1, -1, -1]),
        (Classifier("scores"), [[0.0, 2.0], [3.0, 0.0], [1.0, 2.0]], [1, 0, 0]),
        (Classifier("either", names=("a", "b")), [[0.1, 0.9], [0.9, 0.1], [0.4, 0.6]], [1, 0, 0]),
    ],
)
def test_two_classes_are_counted_in_every_encoding(classifier: Classifier, outputs: Any, labels: Any) -> None:
    classes, counts = count(classifier, (outputs, labels))
    assert counts is not None
    assert (classes, counts.confusion.tolist()) == (2, [[1, 1], [0, 1]])
    assert counts.measure() == {"f1": pytest.approx(2 / 3), "auc": 1.0}


@pytest.mark.parametrize(
    ("classifier", "outputs", "labels"),
    [
        # Pixels, several labels per example, labels as probabilities, a single output, too many classes.
        (Classifier("scores", axis=1), np.zeros((2, 3, 4, 4)), np.zeros((2, 4, 4))),
        (Classifier("score"), np.zeros((2, 3)), np.zeros((2, 3))),
        (Classifier("scores"), np.zeros((2, 3)), np.zeros((2, 3))),
        (Classifier("scores"), np.zeros((2, 1)), np.zeros(2)),
        (Classifier("scores"), np.zeros((2, 101)), np.zeros(2)),
        (Classifier("either", names=("a", "b")), np.zeros((2, 3)), np.zeros(2)),
    ],
)
def test_outputs_that_are_not_one_of_a_few_classes_per_example_are_not_counted(
    classifier: Classifier, outputs: Any, labels: Any
) -> None:
    assert count(classifier, (outputs, labels)) == (0, None)


def test_outputs_of_several_arrays_are_not_counted() -> None:
    counter = ClassCounter(Classifier("scores"))
    counter.add((mx.nd.zeros((2, 3)), mx.nd.zeros((2, 3))), mx.nd.zeros(2))
    assert (counter.classes, counter.read()) == (0, None)


@pytest.mark.parametrize("wrong", [-1.0, 2.0, 0.5])
def test_nothing_is_counted_if_one_label_is_not_a_class(wrong: float) -> None:
    good = ([[0.0, 1.0], [2.0, 0.0]], [1, 0])
    classes, counts = count(Classifier("scores"), good, ([[0.0, 1.0]], [wrong]), good)
    assert (classes, counts) == (2, None)


@pytest.mark.parametrize("wrong", [np.nan, np.inf])
def test_outputs_of_a_model_that_has_diverged_are_not_counted(wrong: float) -> None:
    assert count(Classifier("scores"), ([[wrong, 1.0], [2.0, 0.0]], [1, 0]))[1] is None


def test_scores_far_from_0_are_certain() -> None:
    _, counts = count(Classifier("score"), ([[-1e30], [1e30]], [0, 1]))
    assert counts is not None
    assert counts.measure() == {"f1": 1.0, "auc": 1.0}


def test_outputs_in_half_precision_are_counted() -> None:
    counter = ClassCounter(Classifier("scores"))
    counter.add(mx.nd.array([[0.0, 1.0]]).astype("float16"), mx.nd.array([1]))
    counts = counter.read()
    assert counts is not None
    assert counts.confusion.tolist() == [[0, 0], [0, 1]]


def test_a_network_without_classes_measures_the_same_with_a_counter() -> None:
    net = gluon.nn.Dense(1)
    net.initialize()
    task, data = make_task(gluon.loss.L2Loss()), make_clusters(9)
    counter = ClassCounter(Classifier("scores"))
    assert training.evaluate(net, task, data, how(), counter) == training.evaluate(net, task, data, how())
    assert counter.read() is None
