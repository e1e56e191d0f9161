"""Labels by which a loss picks outputs: MXNet's `pick` silently takes one that is out of range for another.

What becomes of a label is the task's own code: it may wrap softmax cross entropy, shift labels, or ignore
some. So the loss is run over all labels, and the calls of `pick` are watched.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from client.device import put
from client.mx import autograd, gluon, mx

# A loss that compares each example with each other takes the square of the rows.
_ROWS_AT_ONCE = 1024
_VALUES_AT_ONCE = 2**20


@dataclass(frozen=True)
class Clipped:
    """A label that would count as another class: its row, the number that `pick` gets, and the classes."""

    row: int
    value: float
    classes: int


@dataclass(frozen=True)
class _Pick:
    """A call of `pick`: the scores, which gradients reach, the index by which it picks, along which axis."""

    scores: mx.nd.NDArray
    index: mx.nd.NDArray
    axis: int

    @property
    def classes(self) -> int:
        return int(self.scores.shape[self.axis])

    def find_clipped(self) -> NDArray[np.bool_]:
        """Return for each index whether `pick` takes it for another."""
        index = self.index.asnumpy()
        return np.asarray((index < 0) | (index >= self.classes) | (index != np.floor(index)))


def find_clipped(
    loss: Callable[[Any, Any], mx.nd.NDArray], outputs: Any, labels: NDArray[Any]
) -> Clipped | None:
    """Find the first label that the loss would clip and that counts: one that it ignores is fine.

    Nothing is found where the loss cannot be run so, as on outputs whose first axis is not the examples'.

    Args:
        loss: (outputs, labels) -> losses; it has been run on the outputs as they are.
        outputs: the network's for some examples, which stand for those of all others.
        labels: (n, ...), all of a dataset.
    """
    if not all(isinstance(array, mx.nd.NDArray) for array in _flatten(outputs)):
        return None
    sizes = [array.size // max(1, len(array)) for array in _flatten(outputs)]
    rows = max(1, min(_ROWS_AT_ONCE, _VALUES_AT_ONCE // max(1, *sizes, 1)))
    with _not_hybridized(loss):
        for start in range(0, len(labels), rows):
            some = labels[start : start + rows]
            run = _run(loss, _repeat(outputs, len(some)), put(some, mx.cpu()))
            if run is None:
                return None
            found = _choose_counted(*run, len(some))
            if found is not None:
                return Clipped(start + found.row, found.value, found.classes)
    return None


def _run(loss: Any, outputs: Any, labels: mx.nd.NDArray) -> tuple[list[_Pick], mx.nd.NDArray] | None:
    """Run the loss; return its calls of `pick` and the sum of the losses, from which gradients flow back."""
    try:
        with _watched_pick() as picks, autograd.record():
            total = mx.nd.sum(loss(outputs, labels))
            for pick in picks:
                # Every score is part of the graph, also where the loss made nothing of it.
                total = total + 0 * pick.scores.sum()
        total.wait_to_read()
    except Exception:  # noqa: BLE001 - the task's code, which has run on its own outputs: these are made up
        return None
    return (picks, total) if picks else None


def _choose_counted(picks: list[_Pick], total: mx.nd.NDArray, rows: int) -> Clipped | None:
    """Return the first clipped label on whose score the losses depend."""
    clipped = [pick.find_clipped() for pick in picks]
    if not any(found.any() for found in clipped):
        return None
    total.backward()
    for pick, found in zip(picks, clipped, strict=True):
        weights = mx.nd.pick(pick.scores.grad, pick.index, axis=pick.axis).asnumpy().reshape(found.shape)
        counted = np.argwhere(found & (weights != 0))
        if len(counted):
            first = tuple(counted[0])
            # The task may have put several labels of an example below each other.
            row = int(first[0]) * rows // len(found)
            return Clipped(row, float(pick.index.asnumpy()[first]), pick.classes)
    return None


@contextmanager
def _watched_pick() -> Iterator[list[_Pick]]:
    """Have every `pick` noted, from scores that keep their gradient."""
    picks: list[_Pick] = []
    original = mx.nd.pick

    def watched(
        data: mx.nd.NDArray, index: mx.nd.NDArray, axis: int = -1, *rest: Any, **others: Any
    ) -> mx.nd.NDArray:
        scores = data.detach()
        scores.attach_grad()
        picks.append(_Pick(scores, index, axis))
        return original(scores, index, axis, *rest, **others)

    mx.nd.pick = mx.nd.op.pick = watched
    try:
        yield picks
    finally:
        mx.nd.pick = mx.nd.op.pick = original


@contextmanager
def _not_hybridized(loss: Any) -> Iterator[None]:
    """Have a loss, and what it consists of, call MXNet's functions, not a graph that was made of them."""
    blocks: list[gluon.Block] = []
    if isinstance(loss, gluon.Block):
        loss.apply(blocks.append)
    # `hybridize` would drop the graphs that there are. Gluon has no public way to see whether it was called.
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
    """Return `count` rows of outputs: those that there are, again and again."""
    if isinstance(outputs, list | tuple):
        return type(outputs)(_repeat(part, count) for part in outputs)
    return mx.nd.take(outputs, mx.nd.arange(count) % len(outputs))
