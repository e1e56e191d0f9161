"""Both programs write log lines in JSON for log collectors."""

import json
from datetime import datetime
from typing import Any

from tests.federation.programs import Federation

TINY = {"TASK": "tiny_task", "LOG_FORMAT": "json"}
ALWAYS = ["time", "level", "event"]


def read_line(line: str) -> dict[str, Any]:
    """Parse a line, and check that no field is repeated."""

    def build(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        fields = dict(pairs)
        assert len(fields) == len(pairs), line
        return fields

    parsed: dict[str, Any] = json.loads(line, object_pairs_hook=build)
    return parsed


def test_every_line_of_a_run_is_an_event_with_separate_fields(federation: Federation) -> None:
    assert federation.run(client_settings=TINY, NUM_ROUNDS=2, LOG_FORMAT="json") == 0, federation.logs
    lines = [read_line(line) for program in federation.programs for line in program.log.splitlines()]
    for line in lines:
        assert list(line)[:3] == ALWAYS
        assert datetime.fromisoformat(line["time"]).tzinfo is not None
        # What differs from one line to the next is not in the event's name.
        assert not any(c.isdigit() or c in "=:" for c in line["event"]), line
        # What is a number stays one.
        texts = {name: value for name, value in line.items() if isinstance(value, str)}
        assert not {"round", "rounds", "partition", "partitions", "nodes", "remaining_s"} & texts.keys(), line
    rounds = [line for line in lines if line["event"] == "round finished"]
    assert [(line["round"], line["rounds"], line["nodes"]) for line in rounds] == [(1, 2, 2), (2, 2, 2)]
    assert all(
        line["metrics"]["loss"] == round(line["metrics"]["loss"], 6) and line["seconds"] > 0
        for line in rounds
    )
    leased = [line for line in lines if line["event"] == "leased"]
    assert [(line["partition"], line["partitions"]) for line in leased] == [(0, 2), (1, 2)]


def test_the_end_of_a_failed_run_is_an_event_with_its_reason(federation: Federation) -> None:
    server = federation.start_server(LOG_FORMAT="json", CLIENT_WAIT_TIMEOUT=1)
    assert server.wait() == 3
    last = read_line(server.log.splitlines()[-1])
    assert (last["level"], last["event"]) == ("ERROR", "error")
    assert "CLIENT_WAIT_TIMEOUT" in last["reason"]
