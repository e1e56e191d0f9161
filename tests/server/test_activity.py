"""What a run does at the moment, as it is shown."""

import json
import math
import threading
import time

import pytest

from server.activity import Activity
from server.outlook import Outlook
from server.report import Opening
from server.reporting.reporter import Reporter
from server.reporting.reporters import Reporters
from tests.bounds import HANG_S
from tests.server.federation import Federation
from tests.server.nodes import Config, Metrics, NullNode, Values, keep


def test_what_begins_replaces_what_was_before_and_its_wait() -> None:
    activity = Activity()
    assert activity.look().name == "idle"
    activity.begin("train", 3)
    activity.wait_for(Outlook({"awaited": ["a"]}, time.monotonic() + 60, "ROUND_TIMEOUT", "it ends"))
    shown = activity.look().to_json()
    assert (shown["name"], shown["round"]) == ("train", 3)
    assert (shown["waiting"]["fields"], shown["waiting"]["limit"]) == ({"awaited": ["a"]}, "ROUND_TIMEOUT")
    assert shown["waiting"]["until"] > shown["since"]
    activity.begin("aggregate", 3)
    assert activity.look().to_json()["waiting"] is None


def test_a_wait_without_limit_has_no_end_in_json() -> None:
    outlook = Outlook({"ready": 1, "loading": None}, math.inf, "CLIENT_WAIT_TIMEOUT", "it fails")
    shown = json.loads(json.dumps(outlook.to_json(), allow_nan=False))
    assert (shown["until"], shown["then"], shown["fields"]) == (None, None, {"ready": 1})


class Looking(Reporter):
    """Hands out the run's activity."""

    in_background = False
    opening: Opening

    def on_open(self, opening: Opening) -> None:
        self.opening = opening


def test_a_run_shows_the_step_and_the_round_that_it_is_in(
    federation: Federation, monkeypatch: pytest.MonkeyPatch
) -> None:
    looking = Looking()
    monkeypatch.setattr("tests.server.federation.build", lambda _: Reporters([looking]))
    seen = []
    both = threading.Barrier(2, timeout=HANG_S)

    def train(values: Values, config: Config) -> tuple[Values, Metrics]:
        both.wait()
        doing = looking.opening.nodes.activity.look()
        seen.append((doing.name, doing.round))
        both.wait()
        return keep(values, config)

    federation.run({"a": NullNode(train), "b": NullNode(train)}, num_rounds=2)
    assert seen == [("train", 1)] * 2 + [("train", 2)] * 2
    assert [view.name for view in looking.opening.nodes.all()] == ["a", "b"]
