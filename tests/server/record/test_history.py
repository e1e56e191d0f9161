"""The history of a run: what is in it after a crash, and lines that cannot be read."""

import json
from pathlib import Path

import pytest

from server.record.history import History

LINES = [{"round": number, "evaluate": None} for number in (1, 2)]


@pytest.fixture
def history(tmp_path: Path) -> History:
    made = History(tmp_path)
    for line in LINES:
        made.append(line)
    return made


def test_a_line_of_which_only_a_part_was_written_is_removed(history: History, tmp_path: Path) -> None:
    path = tmp_path / "history.jsonl"
    whole = path.read_bytes()
    path.write_bytes(whole + b'{"round": 3')
    history.truncate(history.size)
    assert path.read_bytes() == whole


def test_a_run_without_an_evaluated_round_is_found(history: History) -> None:
    assert not history.is_evaluated
    history.append({"round": 3, "evaluate": {"loss": 0.5}})
    assert history.is_evaluated


@pytest.mark.parametrize("torn", [b"{", b"\xff", b"3", b"[" * 100_000])
def test_a_line_that_cannot_be_read_is_named_and_does_not_stop_a_run(
    torn: bytes, history: History, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "history.jsonl"
    path.write_bytes(json.dumps(LINES[0]).encode() + b"\n" + torn + b"\n")
    history.append({"round": 3, "evaluate": {"loss": 0.5}})
    history.truncate(history.size)
    assert history.is_evaluated
    [record] = caplog.records
    assert record.levelname == "WARNING"
    assert record.getMessage().endswith("lines=2")
