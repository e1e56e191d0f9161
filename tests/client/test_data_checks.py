"""Data on which MXNet would silently train, and the error that is reported instead."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from client.data import Dataset, make_dataset
from client.data_checks import check_ids, check_labels
from client.mx import gluon, mx
from client.picked_labels import find_clipped
from client.task import Loss
from tests.client.given.labels import FINE, check, error_of, of_labels
from tests.client.given.small import inputs_of, make_task

losses = gluon.loss
SOFTMAX = losses.SoftmaxCrossEntropyLoss


# Labels that a loss takes for another class


class Weighted(gluon.loss.SoftmaxCrossEntropyLoss):  # type: ignore[misc]  # MXNet has no types
    """Computes something else from softmax cross entropy."""

    def hybrid_forward(self, F: Any, pred: Any, label: Any, sample_weight: Any = None) -> Any:  # noqa: N803 - MXNet's name
        return 2 * super().hybrid_forward(F, pred, label, sample_weight)


class Named(gluon.loss.SoftmaxCrossEntropyLoss):  # type: ignore[misc]  # MXNet has no types
    """Computes the same as softmax cross entropy."""


class Focal(gluon.loss.Loss):  # type: ignore[misc]  # MXNet has no types
    """Calls `pick` itself."""

    def hybrid_forward(self, F: Any, pred: Any, label: Any) -> Any:  # noqa: N803 - MXNet's name
        chosen = F.pick(F.softmax(pred), label, axis=-1)
        return -((1 - chosen) ** 2) * F.log(chosen)


class Ignoring(gluon.loss.Loss):  # type: ignore[misc]  # MXNet has no types
    """Ignores one label, in one of the usual ways."""

    def __init__(self, how: str, ignored: int) -> None:
        super().__init__(None, 0)
        self._how, self._ignored = how, ignored
        self._softmax = SOFTMAX(axis=1)

    def hybrid_forward(self, F: Any, pred: Any, label: Any) -> Any:  # noqa: N803 - MXNet's name
        mask = label != self._ignored
        if self._how == "weight":
            return self._softmax(pred, label, F.expand_dims(mask, axis=1))
        if self._how == "zero":
            return self._softmax(pred, label * mask, F.expand_dims(mask, axis=1))
        chosen = -F.pick(F.log_softmax(pred, axis=1), label, axis=1)
        return F.where(mask, chosen, F.zeros_like(chosen)) if self._how == "where" else chosen * mask


def hybridized(loss: Any) -> Any:
    loss.hybridize()
    return loss


FOUR = (2, 4)
IMAGE = (2, 4, 3, 2)
LOSSES: dict[str, Loss] = {
    "plain": SOFTMAX(),
    "of log probabilities": SOFTMAX(from_logits=True),
    "hybridized": hybridized(SOFTMAX()),
    "derived": Named(),
    "derived, weighted": Weighted(weight=0.5),
    "derived, weighted, hybridized": hybridized(Weighted()),
    "focal": Focal(None, 0),
    "focal, hybridized": hybridized(Focal(None, 0)),
    "function": lambda outputs, labels: SOFTMAX(axis=1)(outputs, labels.reshape((-1,))),
}


@pytest.mark.parametrize("kind", LOSSES)
@pytest.mark.parametrize(
    ("values", "found"), [((0, 1, 4), 4), ((0, 1, -1), -1), ((0, 1, 2.5), 2.5), ((0, 1, 255), 255)]
)
@pytest.mark.parametrize("shape", [(3,), (3, 1)])
def test_a_label_that_would_count_as_another_class_is_named_for_every_shape_and_loss(
    kind: str, values: tuple[float, ...], found: float, shape: tuple[int, ...]
) -> None:
    bad = of_labels(np.reshape(values, shape))
    expected = f"label 2 has class {found:g}; expected whole numbers from 0 to 3, "
    for name, sets in (("training set", (bad, FINE)), ("test set", (FINE, bad))):
        message = error_of(lambda sets=sets: check(LOSSES[kind], FOUR, *sets))  # type: ignore[misc]
        assert message.startswith(f"TASK=by-hand: {name}: {expected}")


MASKS = np.arange(4 * 3 * 2, dtype=np.uint8).reshape(4, 3, 2) % 4
BAD_MASKS = np.where(np.arange(24).reshape(4, 3, 2) == 19, 200, MASKS).astype(np.uint8)


WAYS = ("weight", "zero", "where", "times")
MASK_LOSSES: dict[str, Loss] = {
    "plain": SOFTMAX(axis=1),
    "hybridized": hybridized(SOFTMAX(axis=1)),
    "function": lambda outputs, labels: 3 * SOFTMAX(axis=1)(outputs, labels),
    "of all pixels in a row": lambda outputs, labels: SOFTMAX()(
        outputs.transpose((0, 2, 3, 1)).reshape((-1, 4)), labels.reshape((-1,))
    ),
    **{f"ignoring another, {how}": Ignoring(how, 255) for how in WAYS},
}


@pytest.mark.parametrize("kind", MASK_LOSSES)
@pytest.mark.parametrize("dtype", ["uint8", "int64", "float32"])
def test_a_mask_with_a_pixel_of_no_class_is_named(kind: str, dtype: str) -> None:
    loss = MASK_LOSSES[kind]
    check(loss, IMAGE, of_labels(MASKS.astype(dtype)))
    message = error_of(lambda: check(loss, IMAGE, of_labels(BAD_MASKS.astype(dtype))))
    assert "training set: label 3 has class 200; expected whole numbers from 0 to 3, " in message


@pytest.mark.parametrize("how", WAYS)
@pytest.mark.parametrize("ignored", [-1, 255])
def test_a_label_that_the_loss_ignores_is_accepted(how: str, ignored: int) -> None:
    labels = of_labels(np.where(BAD_MASKS == 200, ignored, BAD_MASKS.astype(np.int64)))
    check(Ignoring(how, ignored), IMAGE, labels)
    message = error_of(lambda: check(SOFTMAX(axis=1), IMAGE, labels))
    assert f"label 3 has class {ignored}; expected whole numbers from 0 to 3, " in message


def test_a_label_near_the_end_of_a_large_set_is_named() -> None:
    labels = np.zeros(5000)
    labels[4999] = 4
    for loss in (SOFTMAX(), Weighted()):
        assert "label 4999 has class 4; " in error_of(lambda loss=loss: check(loss, FOUR, of_labels(labels)))  # type: ignore[misc]


def test_each_of_several_outputs_has_its_own_classes() -> None:
    def loss(outputs: Any, labels: Any) -> Any:
        return SOFTMAX()(outputs[0], labels[:, 0]) + SOFTMAX()(outputs[1], labels[:, 1])

    def check_both(labels: Any) -> None:
        outputs = [mx.nd.random.normal(shape=(2, classes)) for classes in (2, 5)]
        check_labels(make_task(loss), outputs, (of_labels(labels), of_labels(labels)))

    check_both([[0, 4], [1, 0]])
    message = error_of(lambda: check_both([[0, 4], [4, 0]]))
    assert "label 1 has class 4; expected whole numbers from 0 to 1, " in message


def test_a_hybridized_loss_is_left_as_it_was() -> None:
    loss, outputs = hybridized(Weighted()), mx.nd.ones(FOUR)
    loss(outputs, mx.nd.ones(2))
    before, graph = mx.nd.pick, loss._cached_op
    check(loss, FOUR, FINE)
    assert loss._active
    assert loss._cached_op is graph
    assert mx.nd.pick is mx.nd.op.pick is before


def test_a_loss_with_a_hybridized_part_is_checked() -> None:
    loss = Ignoring("weight", 255)
    loss._softmax.hybridize()
    assert "label 3 has class 200; " in error_of(lambda: check(loss, IMAGE, of_labels(BAD_MASKS)))
    assert (loss._active, loss._softmax._active) == (False, True)


def test_outputs_whose_first_axis_is_not_the_examples_are_accepted() -> None:
    # The outputs are (time, examples, classes).
    def loss(outputs: Any, labels: Any) -> Any:
        return Weighted(axis=2)(outputs.transpose((1, 0, 2)), labels)

    labels = of_labels(np.zeros((5, 2), np.int64))
    assert loss(mx.nd.ones((2, 5, 4)), mx.nd.array(labels.labels)).shape == (5,)
    check(loss, (2, 2, 4), labels)
    check(loss, (3, 2, 4), labels)
    mx.nd.waitall()


@pytest.mark.parametrize(
    "wrap", [lambda array: {"a": array}, lambda array: (array, None)], ids=["a dict", "a None"]
)
def test_outputs_that_contain_more_than_arrays_are_accepted(wrap: Callable[[Any], Any]) -> None:
    outputs = wrap(mx.nd.ones((2, 4)))
    assert find_clipped(lambda *_: mx.nd.zeros(2), outputs, np.array([0, 9])) is None


FINE_PAIRS: dict[str, tuple[Loss, Any]] = {
    "all classes": (SOFTMAX(), [0, 1, 2, 3]),
    "one class": (SOFTMAX(), [2, 2]),
    "a column of floats": (SOFTMAX(), [[2.0], [3.0]]),
    "scores of all classes": (SOFTMAX(sparse_label=False), [[7, -2, 0.5, 0]]),
    "targets": (losses.L2Loss(), [[7, -2, 0.5, 0]]),
    "a function of targets": (lambda outputs, labels: outputs.mean(axis=1) * labels, [7, -2]),
    "two classes of ten numbers": (lambda outputs, labels: SOFTMAX()(outputs, labels >= 5), [0, 9, 5]),
    "numbers from 1 on": (lambda outputs, labels: SOFTMAX()(outputs, labels - 1), [1, 2, 3, 4]),
}


@pytest.mark.parametrize("kind", FINE_PAIRS)
def test_labels_that_the_loss_can_use_are_accepted(kind: str) -> None:
    loss, labels = FINE_PAIRS[kind]
    check(loss, FOUR, of_labels(labels))


# Losses for two classes


@pytest.mark.parametrize(
    ("loss", "fine", "wrong"),
    [
        (losses.SigmoidBinaryCrossEntropyLoss(), (0, 1, 0.25), 2),
        (losses.SigmoidBCELoss(from_sigmoid=True), (0, 1), -1),
        (losses.LogisticLoss(label_format="binary"), (0, 1), -1),
        (losses.LogisticLoss(), (-1, 1), 0),
        (losses.HingeLoss(), (-1, 1), 0),
        (losses.SquaredHingeLoss(), (-1, 1), 2),
    ],
)
@pytest.mark.parametrize("columns", [0, 1, 3])
def test_a_label_that_a_loss_for_two_classes_cannot_use_is_named(
    loss: Loss, fine: tuple[float, ...], wrong: float, columns: int
) -> None:
    def make(values: tuple[float, ...]) -> Dataset:
        column = np.array(values)
        return of_labels(np.stack([column] * columns, axis=1) if columns else column)

    outputs = (2, columns) if columns else (2,)
    check(loss, outputs, make(fine))
    message = error_of(lambda: check(loss, outputs, make((*fine, wrong))))
    assert message.startswith(f"TASK=by-hand: training set: label {len(fine)} has {wrong}")
    assert type(loss).__name__ in message


# Examples that an embedding takes for another row


def make_language_model(rows: int = 7) -> Any:
    net = gluon.nn.HybridSequential()
    net.add(gluon.nn.Embedding(rows, 3), gluon.rnn.LSTM(4, layout="NTC"), gluon.nn.Dense(2))
    net.initialize()
    return net


def check_tokens(net: Any, *sets: Any) -> None:
    train, test = (make_dataset("tokens", np.asarray(tokens), np.zeros(len(tokens))) for tokens in sets)
    check_ids("t", net, inputs_of(train.examples[:2]), (train, test))


GOOD_TOKENS = [[0, 6, 3], [1, 2, 5]]


@pytest.mark.parametrize("value", [7, -1, 1.5])
def test_an_example_for_which_an_embedding_has_no_row_is_named(value: float) -> None:
    check_tokens(make_language_model(), GOOD_TOKENS, GOOD_TOKENS)
    bad = [*GOOD_TOKENS, [0, value, 1]]
    for sets, name in (((bad, GOOD_TOKENS), "training set"), ((GOOD_TOKENS, bad), "test set")):
        message = error_of(lambda sets=sets: check_tokens(make_language_model(), *sets))  # type: ignore[misc]
        assert message.startswith(
            f"TASK=t: {name}: example 2 has {value}; expected whole numbers from 0 to 6, "
        )


def test_an_embedding_of_numbers_that_the_network_computes_is_not_checked() -> None:
    net = gluon.nn.HybridSequential()
    net.add(gluon.nn.HybridLambda(lambda _, x: (x.abs() % 7).floor()), gluon.nn.Embedding(7, 3))
    net.initialize()
    check_tokens(net, [[100, -3.5]], [[200, 1]])


def test_no_hook_remains_in_the_network() -> None:
    net = make_language_model()
    check_tokens(net, GOOD_TOKENS, GOOD_TOKENS)
    assert [dict(block._forward_pre_hooks) for block in (net, *net)] == [{}] * 4
