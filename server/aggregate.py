"""Updates -> the new global arrays: trained arrays by Flower's strategy, all others as a plain average."""

from collections.abc import Mapping

from flwr.app import Array, ArrayRecord, Message, MessageType, MetricRecord, RecordDict

from fedmx.link.flower import make_reply
from fedmx.log import printable
from server.model import Layout, average_running
from server.strategies import Plan
from server.update import NUM_EXAMPLES, Update, records_of


def aggregate(plan: Plan, layout: Layout, number: int, updates: list[Update]) -> ArrayRecord:
    """Aggregate the updates of a round.

    Args:
        plan: the strategy.
        layout: of the model.
        number: the round.
        updates: in the fixed order.

    Raises:
        ValueError: the strategy cannot aggregate them, its arrays are not those of a model, or a user's own
            strategy raised an error.
        ArithmeticError: likewise.
    """
    replies = [_to_reply(plan, layout, number, update) for update in updates]
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
    return layout.merge(trained, running)


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


def _to_reply(plan: Plan, layout: Layout, number: int, update: Update) -> Message:
    """Wrap the trained arrays alone as Flower's strategies expect them; the strategy may change the copy."""
    # Noise is calibrated to equal weights.
    weight = update.num_examples if plan.privacy is None else 1
    metrics = MetricRecord({**update.metrics, NUM_EXAMPLES: weight})
    content = RecordDict({"arrays": layout.pick_trained(update.arrays), "metrics": metrics})
    return make_reply(update.participant.node_id, MessageType.TRAIN, str(number), content)
