"""What is read of a run's folder while the run goes on."""

import json
from pathlib import Path

import pytest

from local.results import Round, RunWatch, read_rounds

ROUND = {
    "train": {"loss": 0.5, "accuracy": 0.8, "num_examples": 100},
    "evaluate": {"loss": 0.25, "accuracy": 0.9125, "num_examples": 20},
    "nodes": [{}, {}],
    "seconds": {"total": 1.5},
}


def test_a_round_without_an_evaluation_is_read() -> None:
    line = {"round": 1, **ROUND, "evaluate": None}
    assert Round.parse(json.dumps(line)) == Round(1, 2, 0.5, None, {}, 1.5)


def test_whatever_is_measured_beside_the_loss_is_a_metric() -> None:
    line = {"round": 1, **ROUND, "evaluate": {"loss": 0.25, "f1": 0.5, "distance": 2, "num_examples": 9}}
    assert Round.parse(json.dumps(line)).metrics == {"f1": 0.5, "distance": 2}


def test_a_line_that_is_still_being_written_is_left_for_later(tmp_path: Path) -> None:
    line = json.dumps({"round": 2, **ROUND})
    (tmp_path / "history.jsonl").write_text(f"{line}\n{line[:40]}")
    assert [row.number for row in read_rounds(tmp_path)] == [2]


def write_run(runs_dir: Path, name: str) -> None:
    (runs_dir / name).mkdir(parents=True, exist_ok=True)
    (runs_dir / name / "run.new").write_text("{}")
    (runs_dir / name / "run.new").replace(runs_dir / name / "run.json")
    (runs_dir / "latest").unlink(missing_ok=True)
    (runs_dir / "latest").symlink_to(name)


@pytest.mark.parametrize("name", ["first", "second"])
def test_a_run_that_starts_or_goes_on_after_the_watch_began_is_found(tmp_path: Path, name: str) -> None:
    write_run(tmp_path, "first")
    watch = RunWatch(tmp_path)
    watch.open()
    assert watch.find() is None
    write_run(tmp_path, name)
    found = watch.find()
    assert found
    assert found.name == name


def test_what_changes_before_the_server_has_the_folder_is_not_its_run(tmp_path: Path) -> None:
    watch = RunWatch(tmp_path)
    write_run(tmp_path, "of-another")
    assert watch.find() is None
