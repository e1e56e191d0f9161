"""How a wait is logged while it lasts."""

import itertools
import json
import math
import threading
from datetime import datetime, timedelta
from io import StringIO
from typing import Any

import pytest

from fedmx import log
from fedmx.errors import FederationError
from server import waiting
from server.activity import Activity
from server.outlook import Outlook
from server.waiting import Wait
from tests.server.federation import Federation
from tests.server.nodes import Config, Metrics, NullNode, Values, keep, shift


class Lines:
    """The log's lines of waits, as JSON."""

    def __init__(self) -> None:
        self._stream = StringIO()
        log.configure("INFO", "json", self._stream)

    def waits(self, name: str = "waiting") -> list[dict[str, Any]]:
        lines = map(json.loads, self._stream.getvalue().splitlines())
        return [line for line in lines if line["event"].startswith(name)]


@pytest.fixture
def lines() -> Lines:
    return Lines()


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Report every few milliseconds, so that a test need not wait for half a minute."""
    monkeypatch.setattr(waiting, "_REPORT_S", 0.02)
    monkeypatch.setattr(waiting, "_LOOK_S", 0.01)


def test_a_wait_is_logged_at_once_and_then_every_30_seconds(lines: Lines) -> None:
    seconds = itertools.count(1000)
    wait = Wait("waiting for nodes", Activity(), clock=lambda: next(seconds))
    for _ in range(100):
        wait.report(Outlook({"ready": 1}, 1300.0, "CLIENT_WAIT_TIMEOUT", "it fails", "start more"))
    assert [line["remaining_s"] for line in lines.waits()] == [299, 269, 239, 209]
    first = lines.waits()[0]
    since, until = (datetime.fromisoformat(first[name]) for name in ("since", "until"))
    assert until - since == timedelta(seconds=300)
    assert since.tzinfo is not None
    fields = (first["ready"], first["limit"], first["then"], first["hint"])
    assert fields == (1, "CLIENT_WAIT_TIMEOUT", "it fails", "start more")


def test_a_quiet_wait_is_logged_when_a_node_is_gone_and_again_when_another_is(lines: Lines) -> None:
    seconds = itertools.count(1000)
    wait = Wait("waiting for replies", Activity(), quiet_s=30, clock=lambda: next(seconds))
    for gone in ([], ["b"], ["b"], ["c", "b"], ["c"]):
        wait.report(Outlook({}, 1600.0, "ROUND_TIMEOUT", "", gone=gone))
    assert [line["gone"] for line in lines.waits()] == [["b"], ["b", "c"]]


def test_a_wait_without_limit_has_no_end_and_nothing_that_happens_then(lines: Lines) -> None:
    Wait("waiting for nodes", Activity()).report(Outlook({}, math.inf, "CLIENT_WAIT_TIMEOUT", "it fails"))
    (line,) = lines.waits()
    assert (line["until"], line["limit"]) == ("without limit", "CLIENT_WAIT_TIMEOUT")
    assert line.keys().isdisjoint({"remaining_s", "then"})


def test_a_line_names_twenty_nodes_and_how_many_more_there_are(lines: Lines) -> None:
    names = [f"node-{number:03}" for number in range(1000)]
    activity = Activity()
    Wait("waiting for replies", activity).report(Outlook({"awaited": names}, 1.0, "", "", gone=names))
    (line,) = lines.waits()
    for field in ("awaited", "gone"):
        assert line[field] == [*names[:20], "and 980 more"]
    waits_for = activity.look().wait
    assert waits_for is not None
    assert waits_for.fields["awaited"] == names, "the page shows the state of each"


@pytest.mark.parametrize(
    ("settings", "wanted_by", "wanted"),
    [
        ({"num_partitions": 0, "min_clients": 2}, "MIN_CLIENTS", 2),
        ({"num_partitions": 3, "min_clients": 2}, "NUM_PARTITIONS", 3),
    ],
)
def test_the_wait_at_the_start_names_its_settings_and_the_way_out(
    settings: dict[str, Any], wanted_by: str, wanted: int, lines: Lines, federation: Federation
) -> None:
    with pytest.raises(FederationError):
        federation.run({"a": NullNode()}, client_wait_timeout=0.1, **settings)
    first = lines.waits("waiting for nodes")[0]
    assert (first["ready"], first["wanted"], first["wanted_by"]) == (1, wanted, wanted_by)
    assert (first["limit"], first["remaining_s"]) == ("CLIENT_WAIT_TIMEOUT", 0)
    assert "exit code 3" in first["then"]
    assert wanted_by in first["hint"]


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize("step", ["query", "train", "evaluate"])
def test_replies_that_stay_away_are_awaited_by_name_in_every_step(
    step: str, lines: Lines, federation: Federation
) -> None:
    def hold() -> None:
        while not any(line["step"] == step and line["awaited"] == ["b"] for line in lines.waits()):
            threading.Event().wait(0.01)

    class Slow(NullNode):
        def _note(self, name: str, message: Any) -> Config:
            if name == step:
                hold()
            return super()._note(name, message)

    federation.run({"a": NullNode(), "b": Slow(), "c": NullNode()}, round_timeout=60.0)
    line = next(line for line in lines.waits() if line["step"] == step and line["awaited"] == ["b"])
    assert line["answered"] == 2
    assert line["limit"] == "ROUND_TIMEOUT"
    assert 0 < line["remaining_s"] <= 60
    assert line.get("round") == (None if step == "query" else 1)


@pytest.mark.usefixtures("impatient")
def test_a_node_that_is_gone_is_awaited_until_lease_grace_ends(lines: Lines, federation: Federation) -> None:
    def hold(values: Values, config: Config) -> tuple[Values, Metrics]:
        while config["server-round"] == 2 and not any(line.get("gone") for line in lines.waits()):
            threading.Event().wait(0.01)
        return keep(values, config)

    federation.run(
        {"a": NullNode(hold), "doomed": None}, num_rounds=2, min_clients=1, min_updates=1, lease_grace=3.0
    )
    gone = [line for line in lines.waits("waiting for replies") if line.get("gone")]
    assert gone[0]["gone"] == ["doomed"]
    assert gone[-1]["awaited"] == ["doomed"]
    assert gone[-1]["limit"] == "LEASE_GRACE"
    assert gone[-1]["remaining_s"] <= 3


@pytest.mark.usefixtures("impatient")
def test_the_wait_between_two_attempts_is_logged(lines: Lines, federation: Federation) -> None:
    with pytest.raises(FederationError):
        federation.run({"a": NullNode(shift(1.0)), "doomed": None}, num_rounds=2, lease_grace=0.2)
    between = [line for line in lines.waits("waiting for nodes") if line.get("wanted_by") == "MIN_UPDATES"]
    assert between[0]["wanted"] == 2
    assert between[0]["limit"] == "LEASE_GRACE"
