"""Updates -> the new global arrays: trained ones by Flower's strategy, running ones as a plain average."""

from collections.abc import Collection, Mapping

from flwr.app import Array, ArrayRecord, Message, MessageType, MetricRecord, RecordDict

from fedmx.link.flower import make_reply
from fedmx.log import printable
from server.layout import Layout
from server.model import GlobalModel, average_running
from server.strategies import Plan
from server.update import LOSS, NUM_EXAMPLES, Update, records_of


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
    metrics = _find_common_metrics(plan, updates)
    replies = [_to_reply(plan, layout, number, update, metrics) for update in updates]
    try:
        trained, _ = plan.strategy.aggregate_train(number, replies)
    except (Exception, SystemExit) as error:
        if not plan.is_custom:
            raise
        name = type(plan.strategy).__name__
        text = printable(str(error))
        raise ValueError(f"the strategy {name} raised {type(error).__name__}: {text}") from error
    finally:
        # Flower's strategies leave reference cycles behind, which would keep every update until Python's
        # garbage collector runs.
        for reply in replies:
            for record in records_of(reply.content, ArrayRecord):
                record.clear()
    problem = _find_problem(trained)
    if trained is None or problem:
        name = type(plan.strategy).__name__
        raise ValueError(f"the strategy {name} returned {problem} for {len(updates)} updates")
    running = average_running(layout, [(update.arrays, update.num_examples) for update in updates])
    return layout.merge(trained, running, model.arrays)


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
            RecordDict({"metrics": _pick_metrics(update, names, update.num_examples)}),
        )
        for update in updates
    ]
    with plan.guarded("aggregate_evaluate()"):
        plan.strategy.aggregate_evaluate(number, replies)


def _pick_metrics(update: Update, names: Collection[str], weight: float) -> MetricRecord:
    picked = {name: value for name, value in update.all_metrics.items() if name in names}
    return MetricRecord({**picked, NUM_EXAMPLES: weight})


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


def _to_reply(plan: Plan, layout: Layout, number: int, update: Update, names: Collection[str]) -> Message:
    """Wrap the trained arrays and these metrics as Flower's strategies expect them, for them to change."""
    # Noise is calibrated to equal weights.
    weight = update.num_examples if plan.privacy is None else 1
    arrays = layout.pick_trained(update.arrays)
    content = RecordDict({"arrays": arrays, "metrics": _pick_metrics(update, names, weight)})
    return make_reply(update.participant.node_id, MessageType.TRAIN, str(number), content)
