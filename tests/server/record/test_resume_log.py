"""What is logged of a run that is resumed: its round and task, and what differs from before."""

import dataclasses
import io
import json
from pathlib import Path
from typing import Any

import pytest

from fedmx import log
from fedmx.errors import SettingsError, StopSignal
from server.federation import federate
from server.leases import Membership
from server.record.resume import choose_run
from server.record.versions import versions
from tests.server.local_grid import LocalGrid
from tests.server.nodes import Metrics, NullNode
from tests.server.record.unfinished import make_run, make_settings


class Log(io.StringIO):
    """The log, line by line."""

    @property
    def lines(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.getvalue().splitlines()]


@pytest.fixture
def logged() -> Log:
    stream = Log()
    log.configure("INFO", "json", stream)
    return stream


@pytest.mark.parametrize(
    ("rounds", "event", "after_round"),
    [(0, "starting a run from its first round", None), (2, "resuming a run", 2)],
)
def test_a_resume_is_logged_at_once_with_run_round_task_and_the_alternative(
    tmp_path: Path, rounds: int, event: str, after_round: int | None, logged: Log
) -> None:
    settings = make_settings(tmp_path)
    make_run(settings, rounds).note_nodes(Membership({"b": 1, "a": 0}, 2), {"task": "mnist"}, 0)
    choose_run(settings)
    (line,) = logged.lines
    assert (line["event"], line["run"], line.get("after_round")) == (event, "one", after_round)
    assert (line["task"], line["nodes"]) == ("mnist", ["a", "b"])
    assert "RESUME=never" in line["hint"]


def test_a_resume_with_other_settings_is_one_event_with_what_changed(tmp_path: Path, logged: Log) -> None:
    settings = make_settings(tmp_path)
    make_run(settings, 1)
    choose_run(dataclasses.replace(settings, learning_rate=0.1, resume="force"))
    warnings = [line for line in logged.lines if line["level"] == "WARNING"]
    assert [line["changed"] for line in warnings] == ["LEARNING_RATE=0.05 there, 0.1 here"]


@pytest.mark.parametrize("resume", ["auto", "force"])
def test_a_resume_compares_the_major_version_of_numpy(tmp_path: Path, resume: str, logged: Log) -> None:
    settings = make_settings(tmp_path, resume=resume)
    path = make_run(settings, 1).folder / "run.json"
    facts = json.loads(path.read_text())
    facts["versions"] |= {"numpy": "9.4.6"}
    path.write_text(json.dumps(facts))
    changed = f"numpy 9.4.6 there, {versions()['numpy']} here"
    if resume == "force":
        assert choose_run(settings).before is not None
        assert changed in logged.lines[0]["changed"]
        return
    with pytest.raises(SettingsError, match=changed):
        choose_run(settings)


def test_a_resume_with_other_versions_is_a_warning_with_each_of_them(tmp_path: Path, logged: Log) -> None:
    settings = make_settings(tmp_path)
    path = make_run(settings, 1).folder / "run.json"
    facts = json.loads(path.read_text())
    facts["versions"] |= {"fedmx": "0.0.9", "grpcio": "1.25.0"}
    path.write_text(json.dumps(facts))
    choose_run(settings)
    (line,) = (line for line in logged.lines if line["level"] == "WARNING")
    here = versions()
    assert (
        line["changed"]
        == f"fedmx 0.0.9 there, {here['fedmx']} here; grpcio 1.25.0 there, {here['grpcio']} here"
    )


@pytest.mark.parametrize(
    ("changed", "expected"),
    [
        ({"task": "cifar"}, "its task is cifar, expected null"),
        ({"metrics": ["loss"]}, "its metrics is"),
        ({"labels-sha256": "cd"}, "its labels-sha256 is cd, expected ab"),
        ({}, ""),
    ],
)
def test_nodes_that_differ_from_the_resumed_run_are_named_on_every_engine(
    tmp_path: Path, changed: dict[str, Any], expected: str
) -> None:
    settings = make_settings(tmp_path, num_rounds=2, num_partitions=2, lease_grace=0.0)

    def stop(*_: Any) -> Metrics:
        raise StopSignal(15)

    with pytest.raises(StopSignal):
        federate(LocalGrid({1: NullNode(evaluate=stop), 2: NullNode()}), settings, choose_run(settings))
    nodes = {1: NullNode(description=changed), 2: NullNode(description=changed)}
    start = choose_run(settings)
    if not changed:
        federate(LocalGrid(nodes), settings, start)
        return
    with pytest.raises(SettingsError) as caught:
        federate(LocalGrid(nodes), settings, start)
    assert expected in str(caught.value)
    assert f"run {start.run_id}, which is unfinished after round 0" in str(caught.value)
    assert "RESUME=never" in str(caught.value)
