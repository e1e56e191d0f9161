"""Reporters: found by their presence, called in order, and never the end of a run."""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from fedmx.errors import TrainingFailedError
from fedmx.settings import ServerSettings
from server import reporting
from server.report import Outcome, RoundReport, RunFacts
from server.reporting.log_lines import LogLines
from server.reporting.reporter import Reporter
from server.reporting.reporters import Reporters, build
from server.reporting.run_events import RunEvents
from server.reporting.site_totals import SiteTotals
from server.reporting.worst_node import WorstNode
from tests.server.federation import Federation
from tests.server.nodes import Config, Metrics, NullNode, Values, shift
from tests.server.reports import make_report

LINES = """
from pathlib import Path

from server.report import RoundReport
from server.reporting.reporter import Reporter


class PrintedRounds(Reporter):
    def __init__(self, path):
        self.path = path

    def on_round(self, report: RoundReport) -> None:
        with self.path.open("a") as file:
            file.write(f"{report.round} of {report.rounds}: {report.evaluate.loss}\\n")


def make(settings):
    return PrintedRounds(settings.runs_dir / "printed.txt")
"""


class Watching(Reporter):
    """Remembers what it is called with."""

    def __init__(self) -> None:
        self.seen: list[RunFacts | RoundReport | Outcome] = []

    def on_run(self, facts: RunFacts) -> None:
        self.seen.append(facts)

    def on_round(self, report: RoundReport) -> None:
        self.seen.append(report)

    def on_end(self, outcome: Outcome) -> None:
        self.seen.append(outcome)


class Failing(Reporter):
    """Fails whenever it is called."""

    def on_run(self, _: RunFacts) -> None:
        raise OSError("the dashboard is gone")

    def on_round(self, _: RoundReport) -> None:
        raise KeyError("loss")

    def on_end(self, _: Outcome) -> None:
        raise ZeroDivisionError


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder for modules that become part of the package."""
    monkeypatch.setattr(reporting, "__path__", [*reporting.__path__, str(tmp_path)])
    before = set(sys.modules)
    yield tmp_path
    for name in set(sys.modules) - before:
        if name.startswith("server.reporting."):
            del sys.modules[name]


@pytest.fixture
def watch(monkeypatch: pytest.MonkeyPatch) -> Watching:
    """A reporter of every run, behind one that fails."""
    watching = Watching()
    monkeypatch.setattr("tests.server.federation.build", lambda _: Reporters([Failing(), watching]))
    return watching


ALWAYS_ON = [LogLines, RunEvents, SiteTotals, WorstNode]


def test_the_reporters_of_the_log_are_always_on() -> None:
    assert [type(reporter) for reporter in build(ServerSettings()).all] == ALWAYS_ON


def test_a_reporter_is_one_file_and_nothing_else(folder: Path, federation: Federation) -> None:
    (folder / "printed_rounds.py").write_text(LINES)
    federation.run({"a": NullNode()}, num_rounds=2)
    assert (federation.runs_dir / "printed.txt").read_text() == "1 of 2: 0.5\n2 of 2: 0.5\n"


def test_a_reporter_that_is_off_is_not_called(folder: Path) -> None:
    (folder / "off.py").write_text("def make(settings):\n    return None\n")
    assert [type(reporter) for reporter in build(ServerSettings()).all] == ALWAYS_ON


def test_a_run_is_reported_from_its_start_to_its_end(watch: Watching, federation: Federation) -> None:
    federation.run({"a": NullNode(shift(1.0)), "b": NullNode()}, num_rounds=2, seed=7)
    facts, *rounds, outcome = watch.seen
    assert isinstance(facts, RunFacts)
    assert (facts.run_id, facts.first_round) == (federation.facts["run_id"], 1)
    assert (facts.nodes, facts.is_resumed) == (2, False)
    assert (facts.folder, facts.settings["SEED"]) == (federation.folder.resolve(), 7)
    assert [report.to_line() for report in rounds if isinstance(report, RoundReport)] == federation.history
    assert isinstance(outcome, Outcome)
    assert (outcome.status, outcome.is_evaluated) == ("finished", True)
    assert outcome.model == facts.folder / "model.npz"
    assert outcome.model_sha256 == federation.facts["model_sha256"]


def test_a_run_that_fails_is_reported_with_its_reason(watch: Watching, federation: Federation) -> None:
    def fail(_: Values, __: Config) -> tuple[Values, Metrics]:
        raise ZeroDivisionError("the columns do not fit")

    with pytest.raises(TrainingFailedError) as caught:
        federation.run({"a": NullNode(fail)})
    facts, outcome = watch.seen
    assert isinstance(facts, RunFacts)
    assert outcome == Outcome("failed", reason=str(caught.value), exit_code=4)


def test_a_reporter_that_fails_is_a_warning_then_and_at_the_end_and_the_run_finishes(
    watch: Watching,
    federation: Federation,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("fedmx.log.logger.propagate", True)
    federation.run({"a": NullNode()}, num_rounds=3)
    assert federation.facts["status"] == "finished"
    warnings = [line for line in caplog.messages if line.startswith("reporter failed")]
    assert len(warnings) == 2
    assert all("reporter=Failing" in line for line in warnings)
    assert "the dashboard is gone" in warnings[0]
    assert ["at=" in line for line in warnings] == [False, True]
    assert len(watch.seen) == 5


@pytest.mark.parametrize(
    "source",
    [
        "def make(:",
        "import no_such_package",
        "raise RuntimeError('at import')",
        "def make(settings):\n    raise SystemExit(0)",
        "def make():\n    return None",
        "make = 3",
        "def make(settings):\n    return object()",
    ],
)
def test_a_reporter_that_cannot_be_built_is_one_warning_and_the_run_finishes(
    source: str,
    folder: Path,
    federation: Federation,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("fedmx.log.logger.propagate", True)
    (folder / "faulty.py").write_text(source)
    federation.run({"a": NullNode()})
    assert federation.facts["status"] == "finished"
    [warning] = [line for line in caplog.messages if line.startswith("reporter failed")]
    assert "reporter=faulty" in warning or "reporter=object" in warning


def test_what_ends_the_program_is_not_swallowed() -> None:
    class Interrupted(Reporter):
        in_background = False

        def on_round(self, _: RoundReport) -> None:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        Reporters([Interrupted()]).on_round(make_report(1))
