"""The event log of runs: each start, resume and end is one event."""

import pytest

from fedmx.errors import FederationError
from fedmx.event_log import read_events
from tests.server.federation import Federation
from tests.server.nodes import Metrics, NullNode, Values


def fail(_: Values, __: object) -> tuple[Values, Metrics]:
    raise ArithmeticError("out of numbers")


def test_a_run_that_finishes_has_its_start_and_its_end_with_the_model(federation: Federation) -> None:
    federation.run({"a": NullNode()}, run_name="trial")
    started, finished = read_events(federation.runs_dir)
    assert (started["event"], finished["event"]) == ("run started", "run finished")
    assert started["run"] == finished["run"] == federation.facts["run_id"]
    assert started["name"] == "trial"
    assert finished["model_sha256"] == federation.facts["model_sha256"]


def test_a_run_that_fails_has_its_reason_and_exit_code(federation: Federation) -> None:
    node = NullNode()
    with pytest.raises(FederationError):
        federation.run({"a": NullNode(fail)}, num_rounds=2)
    federation.run({"a": node})
    events = [event for event in read_events(federation.runs_dir) if event["event"].startswith("run ")]
    assert [event["event"] for event in events] == [
        "run started",
        "run failed",
        "run started",
        "run finished",
    ]
    assert events[1]["exit_code"] == 4
    assert "ArithmeticError" in events[1]["reason"]
