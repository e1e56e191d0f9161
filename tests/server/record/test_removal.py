"""Removal of runs: at once, never what is needed, and what a crash leaves of it."""

import json
from pathlib import Path
from typing import Any

import pytest

from fedmx import run_state
from fedmx.errors import DataError, TooFewNodesError
from fedmx.event_log import read_events
from server.record.catalog import find_newest, list_runs
from server.record.removal import remove_old, remove_run
from server.record.resume import choose_run
from tests.server.federation import Federation
from tests.server.nodes import NullNode


def write(runs_dir: Path, run_id: str, status: str = "finished") -> Path:
    """Write a run with a model and files for TensorBoard, which is the newest."""
    folder = runs_dir / run_id
    (folder / "checkpoints").mkdir(parents=True)
    (folder / "model.npz").write_bytes(b"model")
    facts: dict[str, Any] = {"format": 4, "run_id": run_id, "status": status, "rounds": 1, "settings": {}}
    (folder / "run.json").write_text(json.dumps(facts))
    events = runs_dir / "tensorboard" / run_id
    events.mkdir(parents=True)
    (events / "events").write_bytes(b"events")
    (runs_dir / "latest").unlink(missing_ok=True)
    (runs_dir / "latest").symlink_to(run_id)
    return folder


def names(folder: Path) -> list[str]:
    """Return the names in a folder, but for the lock and the event log."""
    return sorted(path.name for path in folder.iterdir() if path.name not in (".lock", "events.jsonl"))


def listed(runs_dir: Path) -> list[str]:
    return [run.run_id for run in list_runs(runs_dir)]


def test_a_run_is_removed_with_its_files_for_tensorboard(tmp_path: Path) -> None:
    write(tmp_path, "20260101-000000-0001")
    write(tmp_path, "20260102-000000-0001")
    remove_run(tmp_path, "20260101-000000-0001")
    assert names(tmp_path) == ["20260102-000000-0001", "latest", "tensorboard"]
    assert names(tmp_path / "tensorboard") == ["20260102-000000-0001"]
    assert find_newest(tmp_path) == "20260102-000000-0001"


def test_the_event_log_has_which_run_was_removed(tmp_path: Path) -> None:
    write(tmp_path, "20260101-000000-0001")
    remove_run(tmp_path, "20260101-000000-0001")
    (event,) = read_events(tmp_path)
    assert (event["event"], event["run"]) == ("run removed", "20260101-000000-0001")


def test_latest_then_points_to_the_newest_finished_run_which_no_server_resumes(tmp_path: Path) -> None:
    federation = Federation(tmp_path)
    federation.run({"n0": NullNode()}, min_clients=1)
    finished = federation.folder.resolve().name
    write(federation.runs_dir, "20990101-000000-0001", "interrupted")
    write(federation.runs_dir, "20990102-000000-0001", "interrupted")
    remove_run(federation.runs_dir, "20990102-000000-0001")
    assert find_newest(federation.runs_dir) == finished
    assert choose_run(federation.settings(1)).before is None
    remove_run(federation.runs_dir, finished)
    assert "latest" not in names(federation.runs_dir)
    assert listed(federation.runs_dir) == ["20990101-000000-0001"]
    assert choose_run(federation.settings(1)).before is None


def test_the_run_of_a_server_that_is_alive_stays(tmp_path: Path) -> None:
    write(tmp_path, "20260101-000000-0001")
    write(tmp_path, "20260102-000000-0001", "running")
    with run_state.open_lock(tmp_path):
        with pytest.raises(DataError, match="a server works on it") as caught:
            remove_run(tmp_path, "20260102-000000-0001")
        assert caught.value.exit_code == 2
        remove_run(tmp_path, "20260101-000000-0001")
        assert listed(tmp_path) == ["20260102-000000-0001"]
    # Its server is gone.
    remove_run(tmp_path, "20260102-000000-0001")
    assert names(tmp_path) == ["tensorboard"]


def test_what_a_crash_left_of_a_removal_is_no_run_and_is_removed_with_the_next(tmp_path: Path) -> None:
    for number in (1, 2, 3):
        write(tmp_path, f"20260101-000000-000{number}")
    (tmp_path / "20260101-000000-0001").rename(tmp_path / ".removed-20260101-000000-0001")
    assert listed(tmp_path) == ["20260101-000000-0003", "20260101-000000-0002"]
    remove_run(tmp_path, "20260101-000000-0002")
    assert names(tmp_path) == ["20260101-000000-0003", "latest", "tensorboard"]
    assert names(tmp_path / "tensorboard") == ["20260101-000000-0003"]


def test_a_link_to_a_run_elsewhere_is_removed_and_the_run_is_not(tmp_path: Path) -> None:
    elsewhere = write(tmp_path / "elsewhere", "20260101-000000-0001")
    runs_dir = tmp_path / "runs"
    write(runs_dir, "20260102-000000-0001")
    (runs_dir / "20260101-000000-0001").symlink_to(elsewhere)
    assert len(listed(runs_dir)) == 2
    remove_run(runs_dir, "20260101-000000-0001")
    assert listed(runs_dir) == ["20260102-000000-0001"]
    assert (elsewhere / "model.npz").exists()


def test_a_run_that_is_gone_already_is_one_line(tmp_path: Path) -> None:
    write(tmp_path, "20260101-000000-0001")
    with pytest.raises(DataError, match="20260101-000000-0000: "):
        remove_run(tmp_path, "20260101-000000-0000")


@pytest.mark.parametrize(
    ("keep", "expected"),
    [(0, "abcdef"), (1, "adef"), (3, "acdef"), (9, "abcdef")],
)
def test_the_oldest_runs_beyond_keep_runs_are_removed_but_not_the_newest_model(
    tmp_path: Path, keep: int, expected: str
) -> None:
    # The first one cannot be read, and the last one is that of the server.
    statuses = ("torn", "finished", "interrupted", "finished", "failed", "running")
    for letter, status in zip("abcdef", statuses, strict=True):
        write(tmp_path, f"20260101-000000-000{letter}", status)
    (tmp_path / "20260101-000000-000a" / "run.json").write_text("{")
    with run_state.open_lock(tmp_path):
        remove_old(tmp_path, keep, "20260101-000000-000f")
    assert "".join(sorted(name[-1] for name in listed(tmp_path))) == expected


def test_a_folder_with_a_name_of_its_own_is_kept(tmp_path: Path) -> None:
    for name in ("20260101-000000-0001", "20260102-000000-0001", "20260103-000000-0001"):
        write(tmp_path, name)
    write(tmp_path, "20260101-000000-0001-good")
    write(tmp_path, "another-tool")
    remove_old(tmp_path, 1, "20260103-000000-0001")
    assert set(listed(tmp_path)) == {
        "20260102-000000-0001",
        "20260103-000000-0001",
        "20260101-000000-0001-good",
        "another-tool",
    }


def run_one(federation: Federation, **settings: Any) -> str:
    """Run a federation of one node, and return the id of the run."""
    federation.run({"n0": NullNode()}, **settings)
    return federation.folder.resolve().name


def test_the_model_that_a_run_starts_from_is_kept(tmp_path: Path) -> None:
    federation = Federation(tmp_path)
    ids = [run_one(federation) for _ in range(3)]
    oldest = listed(federation.runs_dir)[-1]
    last = run_one(federation, keep_runs=1, initial_model=federation.runs_dir / oldest)
    kept = set(listed(federation.runs_dir))
    assert {oldest, last} < kept
    assert len(kept & set(ids)) == 2
    newest = run_one(federation, keep_runs=1)
    assert newest in listed(federation.runs_dir)
    assert len(listed(federation.runs_dir)) == 2


def test_a_run_that_waits_in_vain_for_nodes_removes_none(tmp_path: Path) -> None:
    federation = Federation(tmp_path)
    ids = {run_one(federation) for _ in range(2)}
    with pytest.raises(TooFewNodesError):
        federation.run({}, keep_runs=1, num_partitions=0, min_clients=1, client_wait_timeout=0.1)
    assert ids < set(listed(federation.runs_dir))


def test_a_run_that_cannot_be_removed_is_a_warning(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    federation = Federation(tmp_path)
    for _ in range(2):
        run_one(federation)

    def fail(_: Path) -> None:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr("server.record.removal.shutil.rmtree", fail)
    with caplog.at_level("WARNING", "fedmx"):
        run_one(federation, keep_runs=1)
    assert federation.facts["status"] == "finished"
    assert "an earlier run was not removed" in caplog.text
