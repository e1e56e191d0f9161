"""Updates -> the new global arrays: trained ones by Flower's strategy, running ones as a plain average.

Updates wait in a store, partly on disk. They are aggregated array by array, so that at most two arrays at a
time are read from disk; a strategy that compares whole updates with each other gets all of them.
"""

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from typing import Any

import numpy as np
from flwr.app import Array, ArrayRecord, Message, MessageType, MetricRecord, RecordDict

from fedmx import arrays
from fedmx.link.flower import make_reply
from fedmx.log import printable
from server import averaging, privacy
from server.layout import Layout
from server.model import GlobalModel, average_running
from server.strategies import Plan
from server.strategy_kinds import Aggregation, ByArray
from server.update import LOSS, NUM_EXAMPLES, Update, records_of, weighted_means

Named = Iterator[tuple[str, Array]]
Compute = Callable[[], Array]
# Arrays of at least this many bytes take longer to compute than to hand to another thread.
_LARGE_BYTES = 1 << 20
_THREADS = 2


def aggregate(plan: Plan, model: GlobalModel, number: int, updates: list[Update]) -> ArrayRecord:
    """Aggregate the updates of a round.

    Args:
        plan: the strategy.
        model: what the updates were trained from; it is not changed.
        number: the round.
        updates: in the fixed order.

    Raises:
        ValueError: the strategy cannot aggregate them, its arrays are not those of a model, or a user's own
            strategy raised an error.
        ArithmeticError: likewise.
    """
    layout = model.layout
    # Large arrays are checked and hashed in two threads, and plain means are computed there: all of this
    # releases Python's lock.
    finished: dict[str, Array] = {}
    pending: dict[str, Future[Array]] = {}
    pool = ThreadPoolExecutor(_THREADS, "aggregate")
    try:
        for name, compute in _aggregate_arrays(plan, layout, number, updates):
            if layout.size_of(name) < _LARGE_BYTES:
                finished[name] = _finish(layout, name, compute)
            else:
                pending[name] = pool.submit(_finish, layout, name, compute)
        for name in list(pending):
            finished[name] = pending.pop(name).result()
    finally:
        # After a signal or an error, arrays that no thread has begun are not computed.
        pool.shutdown(cancel_futures=True)
        # A future refers to its error, and the error's traceback to this frame: a cycle, which would keep the
        # new arrays until the garbage collector runs.
        pending.clear()
    return layout.merge(finished, model.arrays)


def _aggregate_arrays(
    plan: Plan, layout: Layout, number: int, updates: list[Update]
) -> Iterator[tuple[str, Compute]]:
    """Yield each array's name and a function that returns the array, which any thread may call."""
    names = [name for name in layout.arrays if name in layout.trained]
    if plan.aggregation is Aggregation.PLAIN and plan.mechanism is None:
        for name in names:
            yield name, partial(_average, updates, name)
    else:
        for name, array in _aggregate_in_order(plan, layout, number, names, updates):
            # A user's own strategy may return more than it was given.
            if name in layout.trained:
                yield name, partial(_return, array)
    weighted = [(update.arrays, update.num_examples) for update in updates]
    for name in layout.running:
        # It computes in double precision, for which two threads would need twice the memory.
        yield name, partial(_return, average_running(layout, name, weighted))


def _return(array: Array) -> Array:
    return array


def _finish(layout: Layout, name: str, compute: Compute) -> Array:
    """Compute an array, check it and compute its digest, which the link needs."""
    finished = layout.finish(name, compute())
    arrays.digest(finished)
    return finished


def _average(updates: Sequence[Update], name: str) -> Array:
    return arrays.pack(averaging.average(updates, name, _weigh(updates)))


def _aggregate_in_order(
    plan: Plan, layout: Layout, number: int, names: Sequence[str], updates: list[Update]
) -> Named:
    if plan.aggregation is Aggregation.WHOLE:
        yield from _aggregate_whole(plan, layout, number, updates)
    elif plan.aggregation is Aggregation.BY_ELEMENT:
        for name in names:
            yield name, _aggregate_by_element(plan, number, name, updates)
    elif plan.mechanism is not None:
        yield from _average_privately(plan.mechanism, names, updates)
    elif isinstance(plan.strategy, ByArray):
        yield from _aggregate_by_array(plan.strategy, plan, number, names, updates)
    else:
        yield from _aggregate_mean(plan, number, names, updates)


def _average_privately(mechanism: privacy.Mechanism, names: Sequence[str], updates: list[Update]) -> Named:
    """Yield the means of updates that were clipped, with noise."""
    stddev = mechanism.start_release(len(updates), sum(update.was_clipped for update in updates))
    # Noise is calibrated to equal weights.
    weights = [1] * len(updates)
    for name in names:
        mean = averaging.average(updates, name, weights)
        yield name, arrays.pack(privacy.add_noise(mean, stddev))


def _aggregate_by_array(
    strategy: ByArray, plan: Plan, number: int, names: Sequence[str], updates: list[Update]
) -> Named:
    """Yield what a strategy computes from the mean of each array."""
    parts = {}
    for name in names:
        mean = arrays.make_record({name: _average(updates, name)})
        parts[name] = part = strategy.narrow(name)
        yield from _call(plan, part, number, [_make_reply(updates[0], number, mean)])
    strategy.widen(parts)


def _aggregate_mean(plan: Plan, number: int, names: Sequence[str], updates: list[Update]) -> Named:
    """Yield what a user's strategy computes from the mean of all arrays."""
    mean = arrays.make_record({name: _average(updates, name) for name in names})
    reply = _make_reply(updates[0], number, mean, weighted_means(updates))
    yield from _call(plan, plan.strategy, number, [reply])


def _aggregate_by_element(plan: Plan, number: int, name: str, updates: list[Update]) -> Array:
    """Return what a strategy computes from each value of an array of all updates."""
    parts = []
    for part in averaging.cut(updates, name):
        replies = [
            _make_reply(update, number, arrays.make_record({name: array}))
            for update, array in zip(updates, part, strict=True)
        ]
        ((_, array),) = _call(plan, plan.strategy, number, replies)
        parts.append(arrays.view(array))
    if len(parts) == 1:
        return arrays.pack(parts[0])
    return arrays.pack(np.concatenate(parts).reshape(updates[0].arrays[name].shape))


def _aggregate_whole(plan: Plan, layout: Layout, number: int, updates: list[Update]) -> Named:
    """Yield what a strategy computes from all updates, whose arrays are read when it uses them."""
    names = _find_common_metrics(plan, updates)
    replies = [
        _make_reply(
            update, number, layout.pick_trained(update.arrays), _pick(update, names), update.num_examples
        )
        for update in updates
    ]
    yield from _call(plan, plan.strategy, number, replies)


def _call(plan: Plan, strategy: Any, number: int, replies: list[Message]) -> Named:
    """Yield the arrays that a strategy computes from replies, which it may change."""
    with _naming_failures(plan):
        try:
            returned, _ = strategy.aggregate_train(number, replies)
            # It may be the record of a reply, which is emptied below.
            trained = dict(returned) if isinstance(returned, Mapping) else returned
        finally:
            # Flower's strategies leave reference cycles behind, which would keep every update until Python's
            # garbage collector runs.
            for reply in replies:
                for record in records_of(reply.content, ArrayRecord):
                    record.clear()
    problem = _find_problem(trained)
    if trained is None or problem:
        name = type(strategy).__name__
        raise ValueError(f"the strategy {name} returned {problem} for {len(replies)} updates")
    yield from trained.items()


@contextmanager
def _naming_failures(plan: Plan) -> Iterator[None]:
    """Turn what a user's own strategy raises into one line; in Flower's own, an error is raised as it is."""
    try:
        yield
    except (Exception, SystemExit) as error:
        if not plan.is_custom:
            raise
        name = type(plan.strategy).__name__
        text = printable(str(error))
        raise ValueError(f"the strategy {name} raised {type(error).__name__}: {text}") from error


def pass_evaluation(plan: Plan, number: int, updates: list[Update]) -> None:
    """Pass the evaluation of a round to a user's own strategy, which may decide by it what to send next.

    Its averages are not used: Flower's own strategies have no other ones than the history.

    Raises:
        TrainingFailedError: the strategy raised an error.
    """
    if not plan.is_custom or not updates:
        return
    names = set.intersection(*(set(update.defined_metrics) for update in updates))
    replies = [
        make_reply(
            update.participant.node_id,
            MessageType.EVALUATE,
            str(number),
            RecordDict(
                {"metrics": MetricRecord({**_pick(update, names), NUM_EXAMPLES: update.num_examples})}
            ),
        )
        for update in updates
    ]
    with plan.guarded("aggregate_evaluate()"):
        plan.strategy.aggregate_evaluate(number, replies)


def _weigh(updates: Sequence[Update]) -> list[float]:
    return [update.num_examples for update in updates]


def _pick(update: Update, names: Collection[str]) -> dict[str, float]:
    return {name: value for name, value in update.all_metrics.items() if name in names}


def _find_problem(trained: object) -> str | None:
    """Return why what a strategy returned is not a record of arrays; None if it is."""
    if trained is None:
        return "no arrays"
    if not isinstance(trained, Mapping):
        return f"an object of type {type(trained).__name__} instead of an ArrayRecord"
    kinds = {type(value).__name__ for value in trained.values() if not isinstance(value, Array)}
    if kinds:
        return f"values of type {', '.join(sorted(kinds))} instead of Flower's Array"
    return None if trained else "no arrays"


def _find_common_metrics(plan: Plan, updates: list[Update]) -> set[str]:
    """Return the names of the metrics that all updates have; Flower's strategies refuse others.

    Raises:
        ValueError: the strategy needs the loss, and an update has none.
    """
    without = [update.participant.name for update in updates if LOSS not in update.metrics]
    if plan.needs_loss and without:
        name = type(plan.strategy).__name__
        raise ValueError(
            f"the strategy {name} needs the loss of the training; none in the update of {', '.join(without)}"
        )
    return set.intersection(*(set(update.metrics) for update in updates))


def _make_reply(
    update: Update,
    number: int,
    record: ArrayRecord,
    metrics: Mapping[str, float] | None = None,
    weight: float = 1,
) -> Message:
    """Wrap arrays and metrics as Flower's strategies expect them, for them to change."""
    content = RecordDict(
        {"arrays": record, "metrics": MetricRecord({**(metrics or {}), NUM_EXAMPLES: weight})}
    )
    return make_reply(update.participant.node_id, MessageType.TRAIN, str(number), content)
