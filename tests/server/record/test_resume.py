"""Which run is resumed, from which round, and which nodes it waits for."""

import dataclasses
import json
import logging
import os
import shutil
from pathlib import Path
from typing import Any

import pytest
from flwr.app import ConfigRecord

from fedmx.errors import DataError, SettingsError, StopSignal
from fedmx.link.member import NodeView
from server import leases, privacy
from server.federation import federate
from server.leases import Membership, StartRules
from server.record import checkpoint
from server.record.catalog import list_runs, read_run
from server.record.resume import choose_run, find_unannounced
from server.record.run import RunRecord
from server.record.runs import RunsFolder, read_newest
from server.report import Outcome
from tests.server.local_grid import LocalGrid
from tests.server.nodes import GOOD, Metrics, NullNode
from tests.server.record.unfinished import MODEL, make_run, make_settings
from tests.server.reports import make_report


def test_without_a_run_a_new_one_starts(tmp_path: Path) -> None:
    start = choose_run(make_settings(tmp_path))
    assert (start.before, start.checkpoint, start.done) == (None, None, None)


@pytest.mark.parametrize("status", ["", "interrupted", "failed"])
def test_an_unfinished_run_resumes_after_its_newest_round(tmp_path: Path, status: str) -> None:
    settings = make_settings(tmp_path)
    make_run(settings, 2, status)
    start = choose_run(dataclasses.replace(settings, num_rounds=9, log_level="DEBUG", round_timeout=1.0))
    assert start.run_id == "one"
    assert start.done is not None
    assert start.done.round == 2
    assert start.membership == Membership({"a": 0, "b": 1}, 2)


def test_a_resumed_run_has_the_name_notes_and_tags_of_its_newest_server(tmp_path: Path) -> None:
    settings = make_settings(tmp_path, run_name="first", run_tags=("a",))
    make_run(settings, 2, "interrupted")
    renamed = dataclasses.replace(settings, run_name="second", run_notes="why", run_tags=("b", "c"))
    start = choose_run(renamed)
    assert start.before is not None
    RunRecord.resume(start.before, renamed, start.done)
    (run,) = list_runs(tmp_path)
    assert (run.run_id, run.name, run.tags, run.rounds) == ("one", "second", ("b", "c"), 2)
    assert read_run(tmp_path, "one")["notes"] == "why"


def test_a_finished_run_is_not_resumed(tmp_path: Path) -> None:
    settings = make_settings(tmp_path)
    make_run(settings, 2).finish(MODEL)
    assert choose_run(settings).run_id != "one"


def test_a_run_killed_in_its_first_round_keeps_its_name_and_one_that_failed_then_does_not(
    tmp_path: Path,
) -> None:
    settings = make_settings(tmp_path)
    record = make_run(settings, 0)
    assert choose_run(settings).run_id == "one"
    assert choose_run(dataclasses.replace(settings, seed=7)).run_id != "one"
    record.end(Outcome("failed", reason="because", exit_code=3))
    assert choose_run(settings).run_id != "one"


def test_changed_settings_are_named_and_refused(tmp_path: Path) -> None:
    settings = make_settings(tmp_path)
    make_run(settings, 2)
    other = dataclasses.replace(settings, learning_rate=0.1, num_partitions=3)
    with pytest.raises(SettingsError) as caught:
        choose_run(other)
    assert str(caught.value) == (
        "run one is unfinished, after round 2, and has other settings: LEARNING_RATE=0.05 there, 0.1 here;"
        " NUM_PARTITIONS=2 there, 3 here; expected the same settings, RESUME=force to resume with these, or"
        " RESUME=never to start a new run"
    )
    assert choose_run(dataclasses.replace(other, resume="force")).run_id == "one"
    assert choose_run(dataclasses.replace(other, resume="never")).run_id != "one"


def test_a_damaged_checkpoint_is_named_and_the_previous_one_is_used(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logging.getLogger("fedmx"), "propagate", True)
    settings = make_settings(tmp_path)
    folder = make_run(settings, 3).folder / checkpoint.FOLDER
    newest = checkpoint.path_of(folder, 3)
    newest.write_bytes(newest.read_bytes()[:-40])
    start = choose_run(settings)
    assert start.done is not None
    assert start.done.round == 2
    assert f"left out a checkpoint file={newest}" in caplog.text


def test_without_a_readable_checkpoint_the_run_is_not_resumed(tmp_path: Path) -> None:
    settings = make_settings(tmp_path)
    folder = make_run(settings, 2).folder / checkpoint.FOLDER
    for number in (1, 2):
        checkpoint.path_of(folder, number).write_bytes(b"")
    with pytest.raises(
        DataError, match=r"none of its 2 checkpoints can be read, and 2 .* RESUME=never to start a new run$"
    ):
        choose_run(settings)


def test_an_unreadable_record_does_not_start_another_run(tmp_path: Path) -> None:
    settings = make_settings(tmp_path)
    (make_run(settings, 2).folder / "run.json").write_bytes(b"")
    with pytest.raises(DataError, match=r"RESUME=never to start a new run$"):
        choose_run(settings)
    assert choose_run(dataclasses.replace(settings, resume="never")).before is None


def test_missing_checkpoints_do_not_look_like_a_run_without_rounds(tmp_path: Path) -> None:
    settings = make_settings(tmp_path)
    shutil.rmtree(make_run(settings, 2).folder / checkpoint.FOLDER)
    with pytest.raises(
        DataError, match=r"none of its 0 checkpoints can be read, and 2 rounds are done; expected"
    ):
        choose_run(settings)


@pytest.mark.parametrize("resume", ["auto", "force"])
def test_fewer_rounds_than_are_done_are_refused(tmp_path: Path, resume: str) -> None:
    settings = make_settings(tmp_path, resume=resume)
    make_run(settings, 5)
    assert choose_run(dataclasses.replace(settings, num_rounds=5)).before is not None
    with pytest.raises(SettingsError) as caught:
        choose_run(dataclasses.replace(settings, num_rounds=4))
    assert str(caught.value) == (
        "run one is unfinished, after round 5: NUM_ROUNDS=4: expected at least 5, or RESUME=never to start"
        " a new run"
    )


def test_privacy_cannot_start_in_the_middle_of_a_run(tmp_path: Path) -> None:
    settings = make_settings(tmp_path, resume="force")
    make_run(settings, 2)
    with pytest.raises(SettingsError, match=r"DP_MODE=dp-fixed: its rounds so far were without; "):
        choose_run(dataclasses.replace(settings, dp_mode="dp-fixed"))


def test_a_checkpoint_that_was_skipped_is_no_longer_the_newest(tmp_path: Path) -> None:
    settings = make_settings(tmp_path)
    folder = make_run(settings, 3).folder / checkpoint.FOLDER
    checkpoint.path_of(folder, 3).write_bytes(b"")
    start = choose_run(settings)
    assert start.before is not None
    RunRecord.resume(start.before, settings, start.done)
    assert checkpoint.list_rounds(folder) == [2, 1]
    assert (folder / "round-0003.npz.newer").exists()


def test_a_disk_that_fails_is_not_reported_as_a_damaged_checkpoint(tmp_path: Path) -> None:
    settings = make_settings(tmp_path)
    path = checkpoint.path_of(make_run(settings, 2).folder / checkpoint.FOLDER, 2)
    path.unlink()
    path.mkdir()
    with pytest.raises(DataError, match=f"^{path}: cannot be read: Is a directory"):
        choose_run(settings)


@pytest.mark.parametrize("given", [{}, {"seed": 7}, {"resume": "never"}, {"log_level": "DEBUG"}])
def test_only_a_restart_with_the_same_settings_announces_the_end_of_a_run(
    tmp_path: Path, given: dict[str, Any]
) -> None:
    settings = make_settings(tmp_path)
    record = make_run(settings, 2)
    now = dataclasses.replace(settings, **given)
    with RunsFolder(tmp_path) as runs:
        runs.unannounced = "one"
        assert find_unannounced(runs, now) is None, "it is not finished"
        record.finish(MODEL)
        assert (find_unannounced(runs, now) is None) == bool(given)
        os.utime(record.folder / "run.json", (0, 0))
        assert find_unannounced(runs, now) is None, "that was long ago"


def test_lines_after_the_checkpoint_are_removed(tmp_path: Path) -> None:
    settings = make_settings(tmp_path)
    record = make_run(settings, 2)
    start = choose_run(settings)
    record.keep(make_report(3, 0.1), MODEL, {})
    with (record.folder / "history.jsonl").open("a") as file:
        file.write('{"round": 4, "ev')
    newest = read_newest(tmp_path)
    assert newest is not None
    resumed = RunRecord.resume(newest, settings, start.done)
    lines = (resumed.folder / "history.jsonl").read_text().splitlines()
    assert [json.loads(line)["round"] for line in lines] == [1, 2]
    assert json.loads((resumed.folder / "run.json").read_text())["best"]["round"] == 2


def node(name: str, *, is_ready: bool = True, since: float = 0.0) -> NodeView:
    return NodeView(name, 2, is_present=True, description=ConfigRecord() if is_ready else None, since=since)


@pytest.mark.parametrize(
    ("nodes", "now", "may"),
    [
        # All are back: at once.
        ([node("a"), node("b"), node("c")], 1.0, True),
        # The new one may replace c, or c may still come: after JOIN_WINDOW.
        ([node("a"), node("b"), node("x")], 1.0, False),
        ([node("a"), node("b"), node("x")], 5.0, True),
        ([node("a"), node("b"), node("x", is_ready=False)], 5.0, False),
        ([node("a"), node("b")], 119.0, False),
        # After LEASE_GRACE, MIN_CLIENTS are enough.
        ([node("a"), node("b")], 120.0, True),
        ([node("a")], 200.0, False),
        ([], 200.0, False),
    ],
)
def test_a_resumed_run_waits_for_the_nodes_that_took_part(
    nodes: list[NodeView], now: float, *, may: bool
) -> None:
    rules = StartRules(num_partitions=0, min_clients=2, join_window_s=5.0, lease_grace_s=120.0)
    assert leases.can_resume(nodes, {"a", "b", "c"}, rules, now=now, since=0.0) is may


def test_with_privacy_a_model_that_was_sent_counts_even_if_its_round_was_lost(tmp_path: Path) -> None:
    settings = make_settings(
        tmp_path,
        num_rounds=3,
        num_partitions=2,
        lease_grace=0.0,
        dp_mode="dp-fixed",
        dp_args={"noise_multiplier": 0.5},
    )
    third_evaluation = iter([GOOD, GOOD])

    def evaluate(*_: Any) -> Metrics:
        if (metrics := next(third_evaluation, None)) is None:
            # The nodes have the model of round 3, and the disk has not.
            raise StopSignal(15)
        return metrics

    with pytest.raises(StopSignal):
        federate(LocalGrid({1: NullNode(evaluate=evaluate), 2: NullNode()}), settings, choose_run(settings))
    federate(LocalGrid({1: NullNode(), 2: NullNode()}), settings, choose_run(settings))
    history = (tmp_path / "latest" / "history.jsonl").read_text().splitlines()
    books = privacy.PrivacyAccountant(0.5, settings.dp_delta)
    expected = [books.spend() for _ in range(4)]
    assert [json.loads(line)["privacy"] for line in history] == [expected[0], expected[1], expected[3]]
