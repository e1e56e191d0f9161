"""Outputs of a network as probabilities of classes, compared with numbers computed by hand."""

import sys
from dataclasses import replace
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from client.classifier import Classifier, find_classifier
from client.mx import gluon, mx
from client.task import Task
from tests.client.given.small import make_task

HALF, QUARTER = float(np.log(0.5)), float(np.log(0.25))
LOSSES = gluon.loss


def make(monkeypatch: pytest.MonkeyPatch, loss: Any, **members: Any) -> Task:
    """Make a task whose module has these members."""
    module = ModuleType("by_hand")
    for name, value in members.items():
        setattr(module, name, value)
    monkeypatch.setitem(sys.modules, "by_hand", module)
    return replace(make_task(), name="by_hand", loss=loss)


@pytest.mark.parametrize(
    ("loss", "outputs", "expected"),
    [
        # Scores count by their differences.
        (LOSSES.SoftmaxCELoss(), [[3 + HALF, 3 + QUARTER, 3 + QUARTER]], [0.5, 0.25, 0.25]),
        (LOSSES.SoftmaxCELoss(from_logits=True), [[HALF, QUARTER, QUARTER]], [0.5, 0.25, 0.25]),
        # These do not add up to 1, and are not changed.
        (LOSSES.SoftmaxCELoss(from_logits=True), [[QUARTER, QUARTER]], [0.25, 0.25]),
        (LOSSES.SigmoidBCELoss(), [[float(np.log(3))]], [0.25, 0.75]),
        (LOSSES.SigmoidBCELoss(from_sigmoid=True), [[0.75]], [0.25, 0.75]),
        (LOSSES.LogisticLoss(), [[float(np.log(3))]], [0.25, 0.75]),
    ],
)
def test_the_loss_determines_how_outputs_become_probabilities(
    loss: Any, outputs: Any, expected: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    classifier = find_classifier(make(monkeypatch, loss))
    assert classifier is not None
    found = classifier.find_probabilities(mx.nd.array(outputs))
    assert found is not None
    assert found.tolist() == [pytest.approx(expected)]


@pytest.mark.parametrize(
    ("outputs", "expected"),
    [
        ([[0.5, 0.25, 0.25]], [0.5, 0.25, 0.25]),
        ([[3 + HALF, 3 + QUARTER, 3 + QUARTER]], [0.5, 0.25, 0.25]),
    ],
)
def test_with_names_and_any_loss_outputs_are_probabilities_or_else_scores(
    outputs: Any, expected: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    classifier = find_classifier(make(monkeypatch, LOSSES.L2Loss(), CLASSES=["a", "b", "c"]))
    assert classifier is not None
    found = classifier.find_probabilities(mx.nd.array(outputs))
    assert found is not None
    assert found.tolist() == [pytest.approx(expected)]
    assert classifier.find_probabilities(mx.nd.array([[1.0, 2.0]])) is None


@pytest.mark.parametrize(
    ("kind", "shape"), [("scores", (2,)), ("scores", (2, 1)), ("score", (2, 3)), ("either", (2, 3))]
)
def test_outputs_of_another_shape_are_not_classes(kind: Any, shape: tuple[int, ...]) -> None:
    assert Classifier(kind).find_probabilities(mx.nd.zeros(shape)) is None
    assert Classifier(kind).find_probabilities([mx.nd.zeros((2, 3))]) is None


def test_classes_along_another_axis_come_second() -> None:
    found = Classifier("scores", axis=-1).find_probabilities(mx.nd.zeros((2, 4, 5, 3)))
    assert found is not None
    assert found.shape == (2, 3, 4, 5)


def test_the_default_loss_of_a_task_with_its_own_loop_does_not_imply_classes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    own = replace(make(monkeypatch, LOSSES.SoftmaxCELoss()), train=lambda *_: None)
    assert find_classifier(own) is None
    sys.modules["by_hand"].loss = LOSSES.SoftmaxCELoss  # type: ignore[attr-defined]
    assert find_classifier(own) is not None
