"""The launcher reads a run's folder while the run is in progress."""

import json
from pathlib import Path

import pytest

from local.results import Round, describe_stop, read_rounds
from local.tables import make_table

ROUND = {
    "train": {"num_examples": 100, "metrics": {"loss": 0.5, "accuracy": 0.8}},
    "evaluate": {"num_examples": 20, "metrics": {"loss": 0.25, "accuracy": 0.9125}},
    "nodes": [{}, {}],
    "seconds": {"total": 1.5},
}


def test_a_round_without_an_evaluation_has_the_metrics_of_its_training_alone() -> None:
    line = {"round": 1, **ROUND, "evaluate": None}
    assert Round.parse(json.dumps(line)) == Round(1, 2, {"loss": 0.5, "accuracy": 0.8}, {}, 1.5)


def list_columns(*rounds: Round) -> list[str]:
    return [str(column.header) for column in make_table(rounds).columns]


def test_the_table_shows_losses_first_and_only_the_loss_of_the_training() -> None:
    columns = list_columns(
        Round(1, 2, {"accuracy": 0.5, "loss": 0.5}, {}, 1.5),
        Round(2, 2, {"accuracy": 0.5, "loss": 0.5}, {"f1": 0.5, "loss": 0.25, "distance": 2}, 1.5),
    )
    assert columns == ["round", "nodes", "train loss", "loss", "f1", "distance", "seconds"]


def test_the_table_of_a_task_without_a_loss_has_its_own_metrics_of_both_steps() -> None:
    trained = {"generator": 0.5, "discriminator": 0.75}
    columns = list_columns(Round(1, 2, trained, {"mAP": 0.5}, 1.5))
    assert columns == ["round", "nodes", "train generator", "train discriminator", "mAP", "seconds"]


@pytest.mark.parametrize(
    ("reason", "expected"),
    [
        ("target", "TARGET=accuracy>=0.5"),
        ("patience", "PATIENCE=2"),
        ("epsilon", "MAX_EPSILON=8.0"),
    ],
)
def test_a_run_that_stopped_early_is_shown_with_the_setting_and_both_rounds(
    reason: str, expected: str
) -> None:
    settings = {"TARGET": "accuracy>=0.5", "PATIENCE": 2, "MAX_EPSILON": 8.0, "NUM_ROUNDS": 9}
    facts = {"stopped": reason, "rounds": 4, "settings": settings}
    shown = describe_stop(facts)
    assert shown is not None
    for text in (expected, "round 4 of 9"):
        assert text in shown
    assert describe_stop({**facts, "stopped": None}) is None


def test_an_incomplete_line_is_skipped(tmp_path: Path) -> None:
    line = json.dumps({"round": 2, **ROUND})
    (tmp_path / "history.jsonl").write_text(f"{line}\n{line[:40]}")
    assert [row.number for row in read_rounds(tmp_path)] == [2]
