"""Steps that go on without their slowest nodes, on each engine, and what is recorded of these nodes."""

import threading
import time
from collections.abc import Callable
from typing import Any

import pytest

from fedmx.link.quorum import Absence, Cause, Quorum
from fedmx.settings import ServerSettings
from local.simulation.virtual_nodes import SimulationEngine
from server import waiting
from server.activity import Activity
from server.collect import Collector
from server.engine import Engine, FlowerEngine
from server.outlook import Outlook
from server.problems import find_problems
from server.replies import Replies
from tests.bounds import HANG_S
from tests.server.federation import Federation
from tests.server.local_grid import Table
from tests.server.nodes import Config, Metrics, NullNode, Values, keep, shift
from tests.server.test_engine import SlowGrid, ask


def keep_silent(*node_ids: int) -> Callable[[SlowGrid], None]:
    return lambda grid: grid.silent.update(node_ids)


@pytest.fixture(params=["flower", "simulation"])
def make_engine(request: pytest.FixtureRequest) -> Callable[[SlowGrid], Engine]:
    if request.param == "flower":
        return FlowerEngine
    return lambda grid: SimulationEngine(grid, lambda: None)


def test_an_engine_of_flowers_goes_on_without_the_nodes_beyond_a_quorum(
    make_engine: Callable[[SlowGrid], Engine],
) -> None:
    engine = make_engine(SlowGrid({id_: NullNode() for id_ in (5, 6, 7)}, keep_silent(6)))
    replies = ask(engine, 5, 6, 7, timeout=HANG_S, quorum=Quorum(2, 0.1))
    assert [reply.metadata.src_node_id for reply in replies] == [5, 7]
    assert engine.find_absence(6) == Absence(Cause.LEFT_OUT)
    assert (engine.deadlines, engine.count_answered()) == ({}, 2)


def test_an_engine_of_flowers_waits_for_all_before_there_is_a_quorum(
    make_engine: Callable[[SlowGrid], Engine],
) -> None:
    engine = make_engine(SlowGrid({id_: NullNode() for id_ in (5, 6)}, keep_silent(6)))
    assert len(ask(engine, 5, 6, timeout=0.3, quorum=Quorum(2, 0.0))) == 1
    assert engine.find_absence(6) == Absence(Cause.LATE)


def test_errors_do_not_count_for_a_quorum(make_engine: Callable[[SlowGrid], Engine]) -> None:
    class Broken(NullNode):
        def describe(self) -> Any:
            raise ZeroDivisionError

    engine = make_engine(SlowGrid({5: Broken(), 6: NullNode()}, keep_silent(6)))
    replies = ask(engine, 5, 6, timeout=0.3, quorum=Quorum(1, 0.0))
    assert [reply.has_error() for reply in replies] == [True]
    assert engine.find_absence(6) == Absence(Cause.LATE)


class Stall:
    """Training that lasts until the round after it has begun.

    Attributes:
        asked: the rounds that the node was to train in.
    """

    def __init__(self, number: int) -> None:
        self._number = number
        self._released = threading.Event()
        self._has_caught_up = threading.Event()
        self.asked: list[int] = []

    def train(self, values: Values, config: Config) -> tuple[Values, Metrics]:
        self.asked.append(int(str(config["server-round"])))
        if config["server-round"] == self._number:
            assert self._released.wait(HANG_S)
        else:
            self._has_caught_up.set()
        return shift(100.0)(values, config)

    def release(self, values: Values, config: Config) -> tuple[Values, Metrics]:
        """Train on another node, which in the round after releases the first one, and waits for it."""
        if config["server-round"] == self._number + 1:
            self._released.set()
            assert self._has_caught_up.wait(HANG_S)
        return keep(values, config)


def test_a_straggler_is_left_out_named_and_takes_part_again_in_the_next_round(
    federation: Federation, caplog: pytest.LogCaptureFixture
) -> None:
    stall = Stall(1)
    nodes = {"a": NullNode(), "b": NullNode(stall.release), "slow": NullNode(stall.train)}
    federation.run(nodes, num_rounds=3, min_updates=2, quorum=0.6, quorum_grace=3.0)
    first, second, third = federation.history
    (partition,) = (node["partition"] for node in second["nodes"] if node["name"] == "slow")
    assert (first["left_out"], second["left_out"], third["left_out"]) == (
        [{"name": "slow", "site": None, "partition": partition}],
        [],
        [],
    )
    assert federation.missing == [[], [], []]
    assert [[node["name"] for node in line["nodes"]] for line in federation.history] == [
        ["a", "b"],
        ["a", "b", "slow"],
        ["a", "b", "slow"],
    ]
    assert stall.asked == [1, 2, 3]
    lines = [line for line in caplog.messages if line.startswith("nodes left out")]
    assert len(lines) == 2, "one for the training, one for the evaluation"
    assert all("round=1" in line and "nodes=slow" in line and "QUORUM_GRACE=3" in line for line in lines)


def test_a_quorum_changes_nothing_where_everyone_answers(federation: Federation) -> None:
    digests = []
    for quorum in (1.0, 0.5):
        nodes = {name: NullNode(shift(0.1 * number)) for number, name in enumerate("abcd")}
        federation.run(nodes, num_rounds=2, min_updates=2, quorum=quorum, quorum_grace=HANG_S, resume="never")
        digests.append(federation.facts["model_sha256"])
        assert [line["left_out"] for line in federation.history] == [[], []]
    assert digests[0] == digests[1]


class Quorums:
    """Records the quorum of each step, on a grid without a network."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.seen: list[Quorum | None] = []
        choose = Collector._choose_quorum

        def note(*args: Any) -> Quorum | None:
            self.seen.append(choose(*args))
            return self.seen[-1]

        monkeypatch.setattr(Collector, "_choose_quorum", note)


@pytest.mark.parametrize(
    ("settings", "step", "expected"),
    [
        ({"quorum": 1.0}, "train", None),
        ({"quorum": 0.5, "min_updates": 1}, "train", 3),
        ({"quorum": 0.01, "min_updates": 1}, "train", 1),
        ({"quorum": 0.5, "min_updates": 4}, "train", 4),
        ({"quorum": 0.5, "min_updates": 9}, "train", 5),
        ({"quorum": 0.5, "min_updates": 1, "strategy": "multikrum"}, "train", 3),
        ({"quorum": 0.5, "min_updates": 4}, "evaluate", 3),
    ],
    ids=["all", "rounded up", "at least one", "MIN_UPDATES", "no more than asked", "strategy", "evaluation"],
)
def test_a_quorum_is_never_fewer_than_a_round_needs(
    settings: dict[str, Any], step: str, expected: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    quorums = Quorums(monkeypatch)
    Table([NullNode() for _ in range(5)], **settings).collect(step)
    assert quorums.seen == [None if expected is None else Quorum(expected, 30.0)]


def test_a_retry_awaits_what_is_left_of_the_quorum(monkeypatch: pytest.MonkeyPatch) -> None:
    table = Table([NullNode() for _ in range(10)], quorum=0.6, min_updates=1)
    replies = table.collect("train")
    for who in list(replies.admitted)[:6]:
        del replies.admitted[who]
        replies._partitions.discard(who.partition or 0)
    quorums = Quorums(monkeypatch)
    table.collect("train", attempt=1, replies=replies)
    assert quorums.seen == [Quorum(2, 30.0)]


def test_a_node_that_is_left_out_and_then_admitted_is_no_longer_left_out() -> None:
    table = Table([NullNode(), NullNode()])
    replies = Replies()
    replies.leave_out(table.nodes.participants())
    assert replies.explain() == "nodes 0, 1: no reply by the end of QUORUM_GRACE"
    table.collect("train", replies=replies)
    assert (replies.left_out, len(replies.admitted)) == (set(), 2)


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        (
            {"quorum": 0.5, "num_partitions": 10, "min_updates": 6},
            "MIN_UPDATES=6 updates; expected at least 0.6, or MIN_UPDATES=5",
        ),
        (
            {"quorum": 0.5, "num_partitions": 3, "min_clients": 3},
            "MIN_CLIENTS=3 updates; expected at least 1, or MIN_UPDATES=2",
        ),
        ({"quorum": 0.55, "num_partitions": 100, "min_updates": 55}, None),
        ({"quorum": 0.5, "min_clients": 3}, None),
        (
            {
                "quorum": 0.5,
                "num_partitions": 10,
                "min_updates": 5,
                "strategy_args": {"fraction_train": 0.5},
            },
            None,
        ),
    ],
    ids=["MIN_UPDATES", "MIN_CLIENTS", "just enough", "number of nodes unknown", "fewer nodes asked"],
)
def test_a_quorum_below_the_minimum_of_updates_is_refused(
    settings: dict[str, Any], expected: str | None
) -> None:
    found = find_problems(ServerSettings(**settings))
    assert len(found) == (expected is not None)
    for line in found:
        assert line.startswith(f"QUORUM={settings['quorum']:g}: ")
        assert str(expected) in line


def test_many_nodes_that_fail_are_twenty_lines_and_a_count(caplog: pytest.LogCaptureFixture) -> None:
    def fail(_: Values, __: Config) -> tuple[Values, Metrics]:
        raise ZeroDivisionError("no")

    table = Table([NullNode(fail) for _ in range(30)], min_clients=1)
    table.collect("train")
    lines = [line for line in caplog.messages if line.startswith("rejected a reply")]
    assert len(lines) == 21
    assert lines[-1].endswith("more_nodes=10")


def test_the_wait_for_stragglers_names_them_and_ends_with_the_grace_period(
    federation: Federation, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(waiting, "_LOOK_S", 0.01)
    seen: list[Outlook] = []
    wait_for = Activity.wait_for

    def note(self: Activity, outlook: Outlook) -> None:
        seen.append(outlook)
        wait_for(self, outlook)

    monkeypatch.setattr(Activity, "wait_for", note)
    stall = Stall(1)
    nodes = {"a": NullNode(), "b": NullNode(stall.release), "slow": NullNode(stall.train)}
    federation.run(nodes, num_rounds=2, min_updates=2, quorum=0.6, quorum_grace=2.0)
    # In round 2, a quorum may have replied before any of the three.
    waits = [one for one in seen if one.limit == "QUORUM_GRACE" and one.fields["round"] == 1]
    assert {tuple(one.fields["awaited"]) for one in waits} == {("slow",)}  # type: ignore[arg-type]
    assert {one.then for one in waits} == {"the step goes on without these nodes"}
    assert all(one.until < time.monotonic() for one in waits)
