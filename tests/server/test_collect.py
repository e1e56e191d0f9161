"""One step: which nodes are asked, in which order, and which replies are admitted."""

import dataclasses
import gc
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from flwr.app import Array, ArrayRecord, ConfigRecord, Error, Message

from fedmx.errors import DataError, SettingsError, TrainingFailedError
from fedmx.hyperparameters import Hyperparameters
from fedmx.link.flower import APP_RAISED, empty_run, error_of, may_differ
from fedmx.schedule import LearningRateSchedule
from server.collect import Collector
from server.engine import adapt
from server.frozen_view import FrozenView
from server.leases import Participant
from server.nodes import Nodes
from server.record.run import RunRecord
from server.replies import Replies
from server.reporting.reporter import Reporter
from server.rounds import RoundLoop
from server.update import Update, records_of
from tests.server.local_grid import LocalGrid, Table
from tests.server.nodes import GOOD, Config, Metrics, NullNode, Values, keep, lose, shift


def test_every_message_carries_hyperparameters_and_its_nodes_part() -> None:
    node = NullNode()
    table = Table(
        [NullNode(), node],
        local_epochs=3,
        batch_size=7,
        learning_rate=0.5,
        momentum=0.25,
        proximal_mu=0.125,
        seed=9,
    )
    table.collect("train", number=4)
    table.collect("evaluate", number=4)
    expected = {
        **Hyperparameters(3, 7, learning_rate=0.5, momentum=0.25, proximal_mu=0.125).to_config(),
        "server-round": 4,
        "seed": 9,
        "partition-rule": "iid",
        "partition": 1,
        "num-partitions": 2,
        "schema": "",
    }
    assert node.asked == [("train", 4, expected), ("evaluate", 4, expected)]


def test_every_message_carries_the_learning_rate_of_its_round() -> None:
    node = NullNode()
    schedule = LearningRateSchedule.parse("warmup:2+step:1:0.5")
    table = Table([node], learning_rate=0.5, lr_schedule=schedule)
    for number in range(1, 5):
        table.collect("train", number)
        table.collect("evaluate", number)
    rates = [config["learning-rate"] for config in node.asked_to("train")]
    assert rates == [0.25, 0.5, 0.5, 0.25]
    assert [config["learning-rate"] for config in node.asked_to("evaluate")] == rates


def test_qfedavg_computes_with_the_learning_rate_of_the_round() -> None:
    schedule = LearningRateSchedule.parse("step:1:0.5")
    table = Table([NullNode()], learning_rate=0.5, lr_schedule=schedule, strategy="qfedavg")
    for number in (1, 2):
        table.collect("train", number)
    assert table.strategy.client_learning_rate == 0.25


def test_fedprox_sends_its_weight() -> None:
    node = NullNode()
    Table([node], strategy="fedprox", proximal_mu=0.5).collect("train")
    assert node.asked_to("train")[0]["proximal-mu"] == 0.5


def test_the_same_seed_samples_the_same_partitions_whatever_others_draw() -> None:
    def sample(seed: int) -> list[list[int]]:
        table = Table([NullNode() for _ in range(8)], strategy_args={"fraction_train": 0.5}, seed=seed)
        drawn = []
        for number in range(1, 6):
            random.random()  # noqa: S311 - the draw of another part of the program
            table.collect("train", number)
            drawn.append(table.asked())
        return drawn

    first = sample(seed=1)
    assert [len(set(partitions)) for partitions in first] == [4] * 5
    assert sample(seed=1) == first
    assert sample(seed=2) != first
    assert len({tuple(partitions) for partitions in first}) > 1, "rounds differ"


def test_another_attempt_samples_again_among_those_who_are_left() -> None:
    bad = NullNode(lambda values, _: (values, GOOD | {"num-examples": 0}))
    table = Table([bad] * 8, strategy_args={"fraction_train": 0.5})
    replies = table.collect("train")
    first = table.asked()
    table.collect("train", attempt=1, replies=replies)
    assert table.asked() != first
    assert (replies.present, replies.wanted) == (8, 4)


def test_a_step_without_nodes_sends_nothing() -> None:
    table = Table([NullNode()])
    table.grid.nodes.clear()
    replies = table.collect("train")
    assert replies == Replies(seconds=replies.seconds)
    assert replies.explain() == "nodes present: 0"


def test_replies_are_in_the_order_of_partitions_whichever_comes_first() -> None:
    table = Table([NullNode() for _ in range(12)])
    straight = table.collect("train").in_order()
    table.grid._reverse = True
    reversed_ = table.collect("train").in_order()
    assert [update.participant.partition for update in straight] == list(range(12))
    assert [update.participant for update in reversed_] == [update.participant for update in straight]


def fail(_: Values, __: Config) -> tuple[Values, Metrics]:
    raise ZeroDivisionError("the columns\ndo not fit")


def test_an_error_is_a_reason_in_one_line() -> None:
    replies = Table([NullNode(fail), NullNode()]).collect("train")
    assert replies.rejected == {"0": "the columns\\ndo not fit"}
    assert replies.explain() == "node 0: the columns\\ndo not fit"
    assert [who.name for who in replies.admitted] == ["1"]


def test_a_rejection_is_forgotten_once_the_node_is_admitted() -> None:
    steps = iter([lose, keep])

    def train(values: Values, config: Config) -> tuple[Values, Metrics]:
        return next(steps)(values, config)

    table = Table([NullNode(), NullNode(train)])
    replies = table.collect("train")
    assert list(replies.rejected) == ["1"]
    table.collect("train", attempt=1, replies=replies)
    assert table.asked() == [1], "the other one was admitted"
    assert (replies.rejected, len(replies.admitted)) == ({}, 2)


def test_a_node_that_would_send_the_same_reply_is_not_asked_again() -> None:
    nodes = [NullNode(fail), NullNode(shift(1, **{"num-examples": 0})), NullNode(lose), NullNode()]
    table = Table(nodes)
    replies = table.collect("train")
    assert sorted(replies.rejected) == ["0", "1", "2"]
    table.collect("train", attempt=1, replies=replies)
    assert table.asked() == [2]
    assert (replies.present, replies.wanted) == (4, 4)


@pytest.mark.parametrize("code", [0, 3, 4, 5, 8])
def test_only_errors_of_what_was_lost_may_differ(code: int) -> None:
    assert may_differ(Error(code, "lost"))
    for error in (SettingsError("wrong"), TrainingFailedError("the loss is nan"), DataError("damaged")):
        assert not may_differ(error_of(error))
    assert not may_differ(Error(APP_RAISED, "ZeroDivisionError"))


def test_a_node_without_an_answer_is_missing_even_when_it_cannot_be_asked_again() -> None:
    table: Table

    def drop(values: Values, config: Config) -> tuple[Values, Metrics]:
        del table.grid.nodes[1]
        return keep(values, config)

    table = Table([NullNode(drop), NullNode()])
    replies = table.collect("train")
    table.collect("train", attempt=1, replies=replies)
    assert [len(sent) for sent in table.grid.sent] == [2, 0]
    assert list(replies.missing) == ["1"]
    assert replies.explain() == "node 1: no reply within ROUND_TIMEOUT=600, and it is not connected"


def test_a_node_that_answers_in_another_attempt_is_not_missing() -> None:
    table: Table

    def leave(values: Values, config: Config) -> tuple[Values, Metrics]:
        del table.grid.nodes[1]
        return keep(values, config)

    table = Table([NullNode(leave), NullNode()])
    replies = table.collect("train")
    assert list(replies.missing) == ["1"]
    table.grid.nodes[1] = NullNode()
    table.collect("train", attempt=1, replies=replies)
    assert (replies.missing, len(replies.admitted)) == ({}, 2)


def test_replies_are_complete_only_if_they_are_of_every_partition() -> None:
    table = Table([NullNode(), NullNode()])
    assert table.collect("evaluate").are_complete(table.nodes.number)
    del table.grid.nodes[0]
    partial = table.collect("evaluate")
    assert len(partial.admitted) == partial.present == 1
    assert not partial.are_complete(table.nodes.number)
    assert not Replies().are_complete(0)


class Watched(bytes):
    """The bytes of an update, counted while they are in memory."""

    alive = 0

    def __init__(self, _: bytes) -> None:
        Watched.alive += 1

    def __del__(self) -> None:
        Watched.alive -= 1


def watch(record: ArrayRecord) -> ArrayRecord:
    return ArrayRecord({k: Array(a.dtype, a.shape, a.stype, Watched(a.data)) for k, a in record.items()})


@pytest.fixture
def _no_collector() -> Iterator[None]:
    gc.disable()
    yield
    gc.enable()


@pytest.mark.usefixtures("_no_collector")
def test_updates_and_old_models_are_released_before_evaluation(tmp_path: Path) -> None:
    class Watching(LocalGrid):
        def _call(self, message: Message) -> Message | None:
            reply = super()._call(message)
            for record in records_of(reply.content, ArrayRecord) if reply else []:
                record.update(watch(record))
            self.sent.clear()
            return reply

    def evaluate(*_: object) -> Metrics:
        seen.append(Watched.alive)
        return GOOD

    seen: list[int] = []
    node = NullNode(shift(1), evaluate)
    grid = Watching({0: node, 1: node})
    table = Table([node, node])
    table.model.arrays = watch(table.model.arrays)
    assert Watched.alive == 1
    record = RunRecord.begin("run", dataclasses.replace(table.settings, runs_dir=tmp_path))
    engine = adapt(grid)
    nodes = Nodes(engine, table.settings)
    collector = Collector(engine, nodes, table.plan, table.settings, table.model)
    RoundLoop(collector, nodes, table.plan, table.settings, Reporter()).run(table.model, record)
    assert seen == [0] * 6
    # The last round's arrays are the average of the updates, not one of them.
    assert Watched.alive == 0


def test_a_strategy_sees_only_the_nodes_of_the_step() -> None:
    view = FrozenView([3, 1, 2])
    assert list(view.get_node_ids()) == [3, 1, 2]
    expected = "a strategy chooses nodes; sending is the round loop's"
    for forbidden in (
        lambda: view.send_and_receive([]),
        lambda: view.push_messages([]),
        lambda: view.pull_messages([]),
        lambda: view.set_run(empty_run(1)),
        lambda: view.run,
    ):
        with pytest.raises(NotImplementedError, match=expected):
            forbidden()


def test_a_strategy_gets_the_frozen_view_and_trained_arrays_in_the_models_order() -> None:
    seen: list[Any] = []
    table = Table([NullNode(), NullNode()])
    configure = table.strategy.configure_train

    def look(number: int, arrays: ArrayRecord, config: ConfigRecord, grid: Any) -> Any:
        seen.extend((type(grid), list(grid.get_node_ids()), list(arrays)))
        return configure(number, arrays, config, grid)

    table.strategy.configure_train = look
    table.collect("train")
    assert seen == [FrozenView, [0, 1], ["0.weight"]]


def test_a_partition_that_was_admitted_is_not_asked_of_its_next_holder() -> None:
    replies = Replies()
    for participant in (Participant(2, "first", 0), Participant(3, "site", None)):
        replies.admit(Update(participant, ArrayRecord(), {}, 1))
    assert replies.has_update_of(Participant(4, "second", 0))
    assert not replies.has_update_of(Participant(4, "second", 1))
    assert replies.has_update_of(Participant(3, "site", None))
    assert not replies.has_update_of(Participant(5, "another site", None))
