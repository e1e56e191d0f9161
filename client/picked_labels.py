"""Finds labels that a loss would take for another class: MXNet's `pick` silently clips an index out of range.

The task's code decides what a label means: it may wrap softmax cross entropy, shift labels, or ignore some.
So the loss is run over all labels, and its calls of `pick` are recorded.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from client.device import put
from client.mx import autograd, gluon, mx

# A loss that compares every example with every other needs memory for the square of the rows.
_ROWS_AT_ONCE = 1024
_VALUES_AT_ONCE = 2**20


@dataclass(frozen=True)
class Clipped:
    """A label that would count as another class.

    Attributes:
        row: of the label.
        value: the index that `pick` is called with.
        classes: the number of classes to pick from.
    """

    row: int
    value: float
    classes: int


@dataclass(frozen=True)
class _Pick:
    """A call of `pick`: the scores, whose gradients are recorded, the index, and the axis."""

    scores: mx.nd.NDArray
    index: mx.nd.NDArray
    axis: int

    @property
    def classes(self) -> int:
        return int(self.scores.shape[self.axis])

    def find_clipped(self) -> NDArray[np.bool_]:
        """Return for each index whether `pick` clips it."""
        index = self.index.asnumpy()
        return np.asarray((index < 0) | (index >= self.classes) | (index != np.floor(index)))


def find_clipped(
    loss: Callable[[Any, Any], mx.nd.NDArray], outputs: Any, labels: NDArray[Any]
) -> Clipped | None:
    """Return the first label that the loss would clip, unless the loss ignores it.

    Returns None if the loss cannot be run on repeated outputs, such as those whose first axis is not the
    examples, and after `npx.set_np()`.

    Args:
        loss: (outputs, labels) -> losses; it has run on these outputs before.
        outputs: the network's for some examples, repeated for all others.
        labels: (n, ...), all labels of a dataset.
    """
    # Calls of MXNet's numpy functions, which a task has chosen by `npx.set_np()`, cannot be recorded.
    if mx.util.is_np_array() or not all(isinstance(array, mx.nd.NDArray) for array in _flatten(outputs)):
        return None
    sizes = [array.size // max(1, len(array)) for array in _flatten(outputs)]
    rows = max(1, min(_ROWS_AT_ONCE, _VALUES_AT_ONCE // max(1, *sizes, 1)))
    with _not_hybridized(loss):
        for start in range(0, len(labels), rows):
            some = labels[start : start + rows]
            run = _run(loss, _repeat(outputs, len(some)), put(some, mx.cpu(), dtype=np.float32))
            if run is None:
                return None
            found = _choose_counted(*run, len(some))
            if found is not None:
                return Clipped(start + found.row, found.value, found.classes)
    return None


def _run(loss: Any, outputs: Any, labels: mx.nd.NDArray) -> tuple[list[_Pick], mx.nd.NDArray] | None:
    """Run the loss; return its calls of `pick` and the sum of the losses, to compute gradients from."""
    try:
        with _recorded_pick() as picks, autograd.record():
            total = mx.nd.sum(loss(outputs, labels))
            for pick in picks:
                # Makes every score a part of the graph, also those that the loss does not use.
                total = total + 0 * pick.scores.sum()
        total.wait_to_read()
    except Exception:  # noqa: BLE001 - the task's code, on made-up outputs
        return None
    return (picks, total) if picks else None


def _choose_counted(picks: list[_Pick], total: mx.nd.NDArray, rows: int) -> Clipped | None:
    """Return the first clipped label whose score has an effect on the losses."""
    clipped = [pick.find_clipped() for pick in picks]
    if not any(found.any() for found in clipped):
        return None
    total.backward()
    for pick, found in zip(picks, clipped, strict=True):
        weights = mx.nd.pick(pick.scores.grad, pick.index, axis=pick.axis).asnumpy().reshape(found.shape)
        counted = np.argwhere(found & (weights != 0))
        if len(counted):
            first = tuple(counted[0])
            # The task may have reshaped the labels to several rows per example.
            row = int(first[0]) * rows // len(found)
            return Clipped(row, float(pick.index.asnumpy()[first]), pick.classes)
    return None


@contextmanager
def _recorded_pick() -> Iterator[list[_Pick]]:
    """Record every call of `pick`, with scores that keep their gradient."""
    picks: list[_Pick] = []
    original = mx.nd.pick

    def record_call(
        data: mx.nd.NDArray, index: mx.nd.NDArray, axis: int = -1, *rest: Any, **others: Any
    ) -> mx.nd.NDArray:
        scores = data.detach()
        scores.attach_grad()
        picks.append(_Pick(scores, index, axis))
        return original(scores, index, axis, *rest, **others)

    mx.nd.pick = mx.nd.op.pick = record_call
    try:
        yield picks
    finally:
        mx.nd.pick = mx.nd.op.pick = original


@contextmanager
def _not_hybridized(loss: Any) -> Iterator[None]:
    """Have a loss and its blocks call MXNet's functions instead of a graph that was built before."""
    blocks: list[gluon.Block] = []
    if isinstance(loss, gluon.Block):
        loss.apply(blocks.append)
    # `hybridize` would drop the existing graphs. gluon has no public way to ask whether it was called.
    hybridized = [block for block in blocks if getattr(block, "_active", False)]
    for block in hybridized:
        block._active = False  # noqa: SLF001 - see above
    try:
        yield
    finally:
        for block in hybridized:
            block._active = True  # noqa: SLF001 - see above


def _flatten(outputs: Any) -> list[mx.nd.NDArray]:
    if isinstance(outputs, list | tuple):
        return [array for part in outputs for array in _flatten(part)]
    return [outputs]


def _repeat(outputs: Any, count: int) -> Any:
    """Return `count` rows of outputs by repeating the existing ones."""
    if isinstance(outputs, list | tuple):
        return type(outputs)(_repeat(part, count) for part in outputs)
    return mx.nd.take(outputs, mx.nd.arange(count) % len(outputs))
