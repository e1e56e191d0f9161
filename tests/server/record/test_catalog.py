"""The list of runs: whatever a folder has in it, and what a run is that has no server."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from fedmx import run_state
from server.record import summary
from server.record.catalog import find_newest, list_runs, read_run
from server.record.history import HistoryTail
from server.record.summary import RunSummary
from tests.server.federation import Federation
from tests.server.nodes import NullNode
from tests.strangers import run_as_stranger

FACTS: dict[str, Any] = {
    "format": 4,
    "run_id": "20260102-030405-0001",
    "name": "",
    "tags": [],
    "status": "finished",
    "started": "2026-01-02T03:04:05+00:00",
    "finished": "2026-01-02T03:05:15+00:00",
    "rounds": 3,
    "best": {"round": 2, "metric": "loss", "value": 0.25},
    "model_sha256": "ab",
    "settings": {"NUM_ROUNDS": 3},
    "versions": {},
}


def write(runs_dir: Path, run_id: str, /, **facts: Any) -> Path:
    """Write the record of a run."""
    path = runs_dir / run_id / "run.json"
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps(FACTS | {"run_id": run_id} | facts))
    return path


def point_latest_to(runs_dir: Path, name: str) -> None:
    (runs_dir / "latest").symlink_to(name)


def test_a_run_is_summarized_with_what_its_user_wrote(tmp_path: Path) -> None:
    federation = Federation(tmp_path)
    given = {"run_name": "first <try>", "run_notes": "two\nlines", "run_tags": ("a", "b c")}
    federation.run({"n0": NullNode(), "n1": NullNode()}, **given)
    (run,) = list_runs(federation.runs_dir)
    assert run.run_id == federation.folder.resolve().name
    assert (run.name, run.tags, run.status) == ("first <try>", ("a", "b c"), "finished")
    assert (run.rounds, run.num_rounds) == (1, 1)
    assert run.best == {"round": 1, "metric": "loss", "value": 0.5}
    assert run.model_sha256 == federation.facts["model_sha256"]
    assert run.seconds is not None
    document = read_run(federation.runs_dir, run.run_id)
    assert (document["name"], document["notes"], document["tags"]) == (
        "first <try>",
        "two\nlines",
        ["a", "b c"],
    )
    assert json.loads(json.dumps(run.to_json())) == run.to_json()


def test_runs_are_listed_newest_first_and_nothing_else_is(tmp_path: Path) -> None:
    write(tmp_path, "20260101-000000-0001", started="2026-01-01T00:00:00+00:00")
    write(tmp_path, "20260103-000000-0001", started="2026-01-03T00:00:00+00:00")
    write(tmp_path, "copied", started="2026-01-02T00:00:00+00:00")
    point_latest_to(tmp_path, "20260103-000000-0001")
    for name in ("tensorboard", ".removed-20260101-000000-0002", "notes"):
        (tmp_path / name).mkdir()
    (tmp_path / "events.jsonl").write_text("{}")
    assert [run.run_id for run in list_runs(tmp_path)] == [
        "20260103-000000-0001",
        "copied",
        "20260101-000000-0001",
    ]
    assert list_runs(tmp_path / "absent") == []


@pytest.mark.parametrize(
    "text",
    [
        "",
        '{"status": "finis',
        "[]",
        "{}",
        '{"status": 7}',
        "[" * 100_000,
        "\udcff",
    ],
    ids=["empty", "torn", "a list", "no status", "a number as status", "deep", "not text"],
)
def test_a_run_without_a_record_that_can_be_read_is_unreadable(tmp_path: Path, text: str) -> None:
    path = write(tmp_path, "20260101-000000-0001")
    path.write_text(text, errors="surrogateescape")
    (run,) = list_runs(tmp_path)
    assert (run.run_id, run.status, run.rounds) == ("20260101-000000-0001", "unreadable", 0)
    assert "run.json" in str(run.reason)
    with pytest.raises(ValueError, match=r"."):
        read_run(tmp_path, run.run_id)


def test_a_folder_with_the_name_of_a_run_and_no_record_is_unreadable(tmp_path: Path) -> None:
    (tmp_path / "20260101-000000-0001").mkdir()
    (run,) = list_runs(tmp_path)
    assert (run.status, run.reason) == ("unreadable", "run.json not found")


def test_a_record_that_another_user_hides_is_unreadable(tmp_path: Path) -> None:
    write(tmp_path, "20260101-000000-0001").parent.chmod(0o700)
    tmp_path.chmod(0o755)
    # Those that pytest has made, in each of its processes.
    for folder in tmp_path.parents:
        if "pytest-" in str(folder):
            folder.chmod(0o755)
    imports = "import pathlib\nfrom server.record.catalog import list_runs"
    code = "print([run.status for run in list_runs(pathlib.Path(sys.argv[1]))])"
    assert run_as_stranger(imports, code, tmp_path) == "['unreadable']\n"


@pytest.mark.parametrize(
    "facts",
    [
        {"best": {"round": 1, "metric": "loss", "value": float("nan")}},
        {"best": {"round": 1, "metric": "loss", "value": 10**400}},
        {"best": {"round": None, "metric": "loss", "value": 1.0}},
        {"best": [1], "started": "yesterday", "settings": None, "tags": 7, "name": 3, "rounds": "x"},
        {"best": None, "started": "2026-01-02T03:04:05", "model_sha256": 3, "finished": 12},
    ],
)
def test_facts_that_are_something_else_are_left_out(tmp_path: Path, facts: dict[str, Any]) -> None:
    write(tmp_path, "run", **facts)
    (run,) = list_runs(tmp_path)
    assert (run.status, run.best) == ("finished", None)
    json.dumps(run.to_json(), allow_nan=False)


def test_an_older_format_is_shown(tmp_path: Path) -> None:
    path = tmp_path / "20250101-000000-0001" / "run.json"
    path.parent.mkdir()
    path.write_text(json.dumps({"run_id": "20250101-000000-0001", "status": "finished", "rounds": 2}))
    (run,) = list_runs(tmp_path)
    assert run == RunSummary("20250101-000000-0001", status="finished", rounds=2)
    assert read_run(tmp_path, run.run_id)["status"] == "finished"


def test_a_changed_record_is_read_again_and_an_unchanged_one_is_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write(tmp_path, "run")
    assert list_runs(tmp_path)[0].rounds == 3
    monkeypatch.setattr("server.record.summary.json.loads", lambda _: pytest.fail("it was parsed again"))
    assert list_runs(tmp_path)[0].rounds == 3
    monkeypatch.undo()
    path.write_text(path.read_text().replace('"rounds": 3', '"rounds": 14'))
    assert list_runs(tmp_path)[0].rounds == 14


def test_only_the_newest_run_of_a_server_that_is_alive_is_running(tmp_path: Path) -> None:
    running = {"status": "running", "finished": None}
    write(tmp_path, "20260101-000000-0001", started="2026-01-01T00:00:00+00:00", **running)
    write(tmp_path, "20260102-000000-0001", started="2026-01-02T00:00:00+00:00", **running)
    point_latest_to(tmp_path, "20260102-000000-0001")
    assert [run.status for run in list_runs(tmp_path)] == ["interrupted", "interrupted"]
    with run_state.open_lock(tmp_path):
        newest, older = list_runs(tmp_path)
        assert (newest.status, newest.finished, older.status) == ("running", None, "interrupted")
        assert newest.seconds is not None
        assert read_run(tmp_path, newest.run_id)["status"] == "running"
        assert read_run(tmp_path, older.run_id)["status"] == "interrupted"
    killed = list_runs(tmp_path)[0]
    assert (killed.status, killed.reason) == ("interrupted", run_state.KILLED)
    assert killed.finished is not None


def test_a_run_that_its_server_has_begun_is_running_before_it_is_the_newest(tmp_path: Path) -> None:
    write(tmp_path, "20260102-000000-0001", status="running")
    with run_state.open_lock(tmp_path) as lock:
        lock.write(b"20260102-000000-0001")
        assert [run.status for run in list_runs(tmp_path)] == ["running"]


def test_nothing_is_written_to_find_out(tmp_path: Path) -> None:
    path = write(tmp_path, "20260102-000000-0001", status="running")
    point_latest_to(tmp_path, "20260102-000000-0001")
    before = path.read_text()
    assert [run.status for run in list_runs(tmp_path)] == ["interrupted"]
    assert path.read_text() == before
    assert not (tmp_path / ".lock").exists()


def test_a_lock_is_seen_from_another_process(tmp_path: Path) -> None:
    program = (
        "import pathlib, sys\nfrom fedmx.run_state import has_server\n"
        "print(has_server(pathlib.Path(sys.argv[1])))"
    )

    def ask() -> str:
        command = [sys.executable, "-c", program, str(tmp_path)]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout

    with run_state.open_lock(tmp_path):
        assert ask() == "True\n"
    assert ask() == "False\n"


def test_the_newest_run_is_one_of_the_folder(tmp_path: Path) -> None:
    runs_dir = tmp_path / "runs"
    write(tmp_path, "outside")
    write(runs_dir, "run")
    assert find_newest(runs_dir) is None
    for target, expected in (("run", "run"), ("../outside", None), ("gone", None), ("latest", None)):
        (runs_dir / "latest").unlink(missing_ok=True)
        point_latest_to(runs_dir, target)
        assert find_newest(runs_dir) == expected


def test_a_pipe_in_place_of_a_file_holds_no_reader_up(tmp_path: Path) -> None:
    os.mkfifo(write(tmp_path, "whole").with_name("history.jsonl"))
    record = write(tmp_path, "piped")
    record.unlink()
    os.mkfifo(record)
    assert {run.run_id: run.status for run in list_runs(tmp_path)} == {
        "whole": "finished",
        "piped": "unreadable",
    }
    assert read_run(tmp_path, "whole")["curves"]["rounds"] == []
    assert HistoryTail(tmp_path / "whole").read(1) == []
    with pytest.raises(OSError, match="regular"):
        read_run(tmp_path, "piped")


def test_hundreds_of_runs_are_parsed_once(tmp_path: Path) -> None:
    for number in range(300):
        write(tmp_path, f"20260101-000000-{number:04x}")
    assert len(list_runs(tmp_path)) == 300
    before = summary.read_summary.cache_info().misses
    assert len(list_runs(tmp_path)) == 300
    assert summary.read_summary.cache_info().misses == before
    shutil.rmtree(tmp_path / "20260101-000000-0000")
    assert len(list_runs(tmp_path)) == 299
