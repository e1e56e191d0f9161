"""The log's lines of a run."""

import io
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from fedmx import log
from fedmx.settings import ServerSettings
from server.report import Outcome, RunFacts, Seconds, StepReport
from server.reporting.log_lines import make
from tests.server.reports import make_report

FACTS = RunFacts("one", Path("runs/one"), 3, 2, is_resumed=True, settings={})


@pytest.fixture
def stream() -> io.StringIO:
    stream = io.StringIO()
    log.configure("INFO", "json", stream)
    return stream


def read(stream: io.StringIO) -> dict[str, Any]:
    (line,) = stream.getvalue().splitlines()
    fields: dict[str, Any] = json.loads(line)
    return fields


@pytest.mark.parametrize(("is_resumed", "name"), [(False, "run started"), (True, "run resumed")])
def test_the_start_is_an_event(stream: io.StringIO, name: str, *, is_resumed: bool) -> None:
    make(ServerSettings()).on_run(replace(FACTS, is_resumed=is_resumed))
    line = read(stream)
    assert (line["event"], line["run"], line["round"], line["nodes"]) == (name, "one", 3, 2)
    assert line["folder"] == "runs/one"


def test_a_round_is_logged_with_the_metrics_of_its_evaluation(stream: io.StringIO) -> None:
    report = make_report(
        2,
        evaluate=StepReport(20, {"loss": 0.25, "round": 7.0}),
        privacy={"epsilon": 1.5, "delta": 1e-5},
        seconds=Seconds(0.0, 0.0, 0.0, 0.0, 1.25),
    )
    make(ServerSettings()).on_round(report)
    line = read(stream)
    assert (line["event"], line["round"], line["rounds"], line["nodes"]) == ("round finished", 2, 9, 0)
    assert line["metrics"] == {"loss": 0.25, "round": 7.0}
    assert (line["epsilon"], line["seconds"]) == (1.5, 1.25)


def test_a_round_without_evaluation_is_logged_with_the_metrics_of_its_training(stream: io.StringIO) -> None:
    make(ServerSettings()).on_round(make_report(2, None))
    line = read(stream)
    assert line["metrics"] == {"train_loss": 0.5}
    assert "epsilon" not in line


def test_the_end_of_a_finished_run_names_its_model(stream: io.StringIO) -> None:
    outcome = Outcome("finished", model=Path("runs/one/model.npz"), model_sha256="5ee1")
    make(ServerSettings()).on_end(outcome)
    line = read(stream)
    assert (line["event"], line["model"], line["model_sha256"]) == (
        "run finished",
        "runs/one/model.npz",
        "5ee1",
    )
    assert not line.keys() & {"evaluation", "stopped", "best_round"}


def test_the_end_of_a_run_that_stopped_early_has_the_reason_and_the_best_round(stream: io.StringIO) -> None:
    best = {"round": 3, "metric": "loss", "value": 0.25}
    make(ServerSettings()).on_end(Outcome("finished", stopped="patience", best=best))
    line = read(stream)
    assert (line["stopped"], line["best_round"]) == ("patience", 3)


def test_the_end_of_a_run_that_was_never_evaluated_is_logged_as_such(stream: io.StringIO) -> None:
    make(ServerSettings()).on_end(Outcome("finished", is_evaluated=False))
    assert read(stream)["evaluation"] == "no round was evaluated"


@pytest.mark.parametrize("status", ["failed", "interrupted"])
def test_the_program_itself_logs_why_a_run_failed(stream: io.StringIO, status: str) -> None:
    make(ServerSettings()).on_end(Outcome(status, reason="because"))
    assert stream.getvalue() == ""
