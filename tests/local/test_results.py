"""The launcher reads a run's folder while the run is in progress."""

import json
from pathlib import Path

from local.results import Round, read_rounds

ROUND = {
    "train": {"num_examples": 100, "metrics": {"loss": 0.5, "accuracy": 0.8}},
    "evaluate": {"num_examples": 20, "metrics": {"loss": 0.25, "accuracy": 0.9125}},
    "nodes": [{}, {}],
    "seconds": {"total": 1.5},
}


def test_a_round_without_an_evaluation_has_no_loss_and_no_metrics() -> None:
    line = {"round": 1, **ROUND, "evaluate": None}
    assert Round.parse(json.dumps(line)) == Round(1, 2, 0.5, None, {}, 1.5)


def test_every_metric_but_the_loss_is_in_metrics() -> None:
    evaluate = {"num_examples": 9, "metrics": {"loss": 0.25, "f1": 0.5, "distance": 2}}
    line = {"round": 1, **ROUND, "evaluate": evaluate}
    assert Round.parse(json.dumps(line)).metrics == {"f1": 0.5, "distance": 2}


def test_an_incomplete_line_is_skipped(tmp_path: Path) -> None:
    line = json.dumps({"round": 2, **ROUND})
    (tmp_path / "history.jsonl").write_text(f"{line}\n{line[:40]}")
    assert [row.number for row in read_rounds(tmp_path)] == [2]
