"""Series of a round, and reading the history as it grows."""

from pathlib import Path

from server.record.history import HistoryTail
from server.record.series import LAST, list_node_values, list_values

LINE = {
    "round": 3,
    "learning_rate": 0.05,
    "train": {"num_examples": 20, "metrics": {"loss": 0.5}},
    "evaluate": {"num_examples": 10, "metrics": {"loss": 0.25, "accuracy": 0.75}},
    "nodes": [
        {
            "name": "a",
            "examples": 20,
            "metrics": {"loss": 0.5},
            "evaluate": None,
            "seconds": 1.5,
            "bytes_up": 100,
            "bytes_down": 200,
        }
    ],
    "only_evaluated": [
        {
            "name": "b",
            "examples": None,
            "metrics": {},
            "evaluate": {"num_examples": 10, "metrics": {"loss": 0.25}},
            "seconds": 0.0,
            "bytes_up": 10,
            "bytes_down": 20,
        }
    ],
    "rejected": [{"name": "c", "step": "train", "reason": "not finite"}],
    "privacy": {"epsilon": 1.25, "delta": 1e-5},
    "seconds": {"train": 1.0, "aggregate": 0.5, "evaluate": 0.25, "checkpoint": 0.25, "total": 2.0},
}


def test_values_of_the_federation_have_names_by_step() -> None:
    values = list_values(LINE)
    assert values == {
        "evaluate/loss": 0.25,
        "evaluate/accuracy": 0.75,
        "train/loss": 0.5,
        "learning_rate": 0.05,
        "epsilon": 1.25,
        "nodes": 1,
        "rejected": 1,
        "seconds/train": 1.0,
        "seconds/aggregate": 0.5,
        "seconds/evaluate": 0.25,
        "seconds/checkpoint": 0.25,
        "seconds/total": 2.0,
    }
    # What has it has all others as well.
    assert list(values)[-1] == LAST


def test_a_node_has_what_it_did_in_the_round_and_no_value_of_what_it_did_not() -> None:
    assert dict(list_node_values(LINE)) == {
        "a": {"train/loss": 0.5, "examples": 20, "seconds": 1.5, "bytes_up": 100, "bytes_down": 200},
        "b": {"evaluate/loss": 0.25, "bytes_up": 10, "bytes_down": 20},
    }


def test_a_round_without_evaluation_or_privacy_has_no_such_values() -> None:
    values = list_values({**LINE, "evaluate": None, "privacy": None})
    assert not {name for name in values if name.startswith("evaluate") or name == "epsilon"}


def read_rounds(tail: HistoryTail, most: int = 10) -> list[int]:
    return [line["round"] for line in tail.read(most)]


def test_rounds_are_read_again_until_they_are_counted(tmp_path: Path) -> None:
    tail = HistoryTail(tmp_path)
    assert read_rounds(tail) == []
    (tmp_path / "history.jsonl").write_text('{"round": 1}\n{"round": 2}\n{"round": 3}\n')
    assert read_rounds(tail, most=2) == [1, 2]
    assert read_rounds(tail, most=2) == [1, 2]
    tail.mark_done()
    assert read_rounds(tail) == [3]


def test_a_line_that_is_being_written_is_left_for_later_and_an_unreadable_one_is_left_out(
    tmp_path: Path,
) -> None:
    path = tmp_path / "history.jsonl"
    path.write_text('{"round": 1}\nnot JSON\n[]\n{"rou')
    tail = HistoryTail(tmp_path)
    assert read_rounds(tail) == [1]
    tail.mark_done()
    path.write_text(path.read_text() + 'nd": 2}\n')
    assert read_rounds(tail) == [2]
