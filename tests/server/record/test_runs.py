"""The runs folder: who may write there, names of runs, and what is on record of the newest."""

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from fedmx import __version__, run_state
from fedmx.errors import DataError
from fedmx.run_state import FORMAT
from fedmx.settings import ServerSettings
from server.record.resume import choose_run, find_unannounced
from server.record.run import RunRecord
from server.record.runs import RunsFolder, new_run_id, read_newest
from server.report import Outcome
from tests.strangers import UID, run_as_stranger


def test_names_of_runs_differ_within_a_second() -> None:
    assert len({new_run_id() for _ in range(20)}) > 1


def test_the_runs_folder_is_made_and_locked(tmp_path: Path) -> None:
    runs_dir = tmp_path / "deep" / "runs"
    with RunsFolder(runs_dir):
        with pytest.raises(DataError) as caught:
            RunsFolder(runs_dir)
        assert caught.value.exit_code == 2
        assert str(caught.value) == (
            f"RUNS_DIR={runs_dir}: another server writes in this folder; expected a folder for each server"
        )
    with RunsFolder(runs_dir) as runs:
        assert runs.unannounced == ""


def test_a_server_waits_for_who_notes_that_another_was_killed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settling = run_state.open_lock(tmp_path)
    monkeypatch.setattr("server.record.runs.time.sleep", lambda _: settling.close())
    with RunsFolder(tmp_path) as runs:
        assert runs.unannounced == ""


@pytest.mark.parametrize(("below", "expected"), [("", "File exists"), ("runs", "Not a directory")])
def test_an_unusable_runs_folder_is_one_line(tmp_path: Path, below: str, expected: str) -> None:
    (tmp_path / "file").write_text("")
    runs_dir = tmp_path / "file" / below
    with pytest.raises(DataError) as caught:
        RunsFolder(runs_dir)
    assert str(caught.value) == (
        f"RUNS_DIR={runs_dir}: {expected}; expected a folder that this user (uid {os.getuid()}) can write"
    )


def test_a_server_that_was_killed_leaves_no_lock(tmp_path: Path) -> None:
    hold = "import sys, os; from pathlib import Path; from server.record.runs import RunsFolder; "
    hold += "runs = RunsFolder(Path(sys.argv[1])); runs.unannounced = 'one'; os.kill(os.getpid(), 9)"
    killed = subprocess.run([sys.executable, "-c", hold, str(tmp_path)], check=False)
    assert killed.returncode == -9
    with RunsFolder(tmp_path) as runs:
        assert runs.unannounced == "one"
        runs.unannounced = ""
        assert runs.unannounced == ""


def begin(runs_dir: Path) -> RunRecord:
    return RunRecord.begin("one", ServerSettings(runs_dir=runs_dir))


def status_of(runs_dir: Path) -> str:
    newest = read_newest(runs_dir)
    assert newest is not None
    return newest.status


def test_a_run_is_running_while_its_server_holds_the_folder_and_interrupted_afterwards(
    tmp_path: Path,
) -> None:
    with RunsFolder(tmp_path):
        begin(tmp_path)
        run_state.settle(tmp_path)
        assert status_of(tmp_path) == "running"
    assert status_of(tmp_path) == "interrupted"


def test_the_run_of_a_server_that_was_killed_is_interrupted_for_the_next_one(tmp_path: Path) -> None:
    begin = "import sys, os; from pathlib import Path; from fedmx.settings import ServerSettings; "
    begin += "from server.record.run import RunRecord; from server.record.runs import RunsFolder; "
    begin += "path = Path(sys.argv[1]); "
    begin += "runs = RunsFolder(path); RunRecord.begin('one', ServerSettings(runs_dir=path)); "
    begin += "os.kill(os.getpid(), 9)"
    assert subprocess.run([sys.executable, "-c", begin, str(tmp_path)], check=False).returncode == -9
    assert status_of(tmp_path) == "running", "a killed server writes nothing"
    with RunsFolder(tmp_path):
        assert status_of(tmp_path) == "interrupted"
    found = read_newest(tmp_path)
    assert found is not None
    assert found.facts["finished"]
    assert "killed" in found.facts["reason"]


@pytest.mark.parametrize("status", ["finished", "failed", "interrupted"])
def test_a_run_that_ended_stays_as_it_ended(tmp_path: Path, status: str) -> None:
    record = begin(tmp_path)
    record.end(Outcome(status, reason="because"))
    before = (record.folder / "run.json").read_bytes()
    with RunsFolder(tmp_path):
        run_state.settle(tmp_path)
    assert (record.folder / "run.json").read_bytes() == before


@pytest.mark.parametrize("content", [b"", b"[]", b"{}", b"\xff"])
def test_a_record_that_cannot_be_read_is_left_as_it_is(tmp_path: Path, content: bytes) -> None:
    path = begin(tmp_path).folder / "run.json"
    path.write_bytes(content)
    run_state.settle(tmp_path)
    assert path.read_bytes() == content
    run_state.settle(tmp_path / "nowhere")
    assert not (tmp_path / "nowhere").exists()


def write_facts(folder: Path, **changes: object) -> Path:
    path = begin(folder).folder / "run.json"
    facts = {k: v for k, v in (json.loads(path.read_text()) | changes).items() if v != "missing"}
    path.write_text(json.dumps(facts))
    return path


@pytest.mark.parametrize(("number", "shown"), [("missing", 1), (1, 1), (FORMAT + 1, FORMAT + 1), ("x", "x")])
def test_an_unfinished_run_of_another_format_is_named_with_both_formats_and_versions(
    tmp_path: Path, number: object, shown: object
) -> None:
    path = write_facts(tmp_path, format=number, versions={"fedmx": "7.8.9"}, nodes="of another kind")
    with pytest.raises(DataError) as caught:
        read_newest(tmp_path)
    line = str(caught.value)
    assert line.startswith(f"{path}: ")
    for expected in (f"format {shown},", "7.8.9", f"format {FORMAT},", __version__, "RESUME=never"):
        assert expected in line
    assert "\n" not in line


def test_an_unfinished_run_of_another_format_stays_as_it_is(tmp_path: Path) -> None:
    path = write_facts(tmp_path, format=2, status="running")
    before = path.read_bytes()
    with RunsFolder(tmp_path), pytest.raises(DataError):
        read_newest(tmp_path)
    assert path.read_bytes() == before


def test_a_finished_run_of_another_format_is_ignored(tmp_path: Path) -> None:
    write_facts(tmp_path, format=1, status="finished", settings="missing")
    assert read_newest(tmp_path) is None
    settings = ServerSettings(runs_dir=tmp_path)
    with RunsFolder(tmp_path) as runs:
        runs.unannounced = "one"
        assert find_unannounced(runs, settings) is None
    assert choose_run(settings).before is None


IMPORTS = """
from pathlib import Path
from fedmx.errors import FederationError
from fedmx.settings import ServerSettings
from server.record.run import RunRecord
from server.report import Outcome
from server.record.resume import choose_run
"""
READ = """
for folder in sys.argv[1:]:
    settings = ServerSettings(runs_dir=Path(folder))
    try:
        start = choose_run(settings)
        RunRecord.resume(start.before, settings, start.done)
    except FederationError as error:
        print(error.exit_code, error)
"""
UNREADABLE = ("one/run.json", "one", "one/history.jsonl", "one/checkpoints", ".")


@pytest.fixture
def unreadable() -> Iterator[list[Path]]:
    """Folders of runs, in each of which a stranger cannot read another file or folder of UNREADABLE."""
    folders = [Path(tempfile.mkdtemp(prefix="fedmx-runs-")) for _ in UNREADABLE]
    for runs_dir, name in zip(folders, UNREADABLE, strict=True):
        folder = begin(runs_dir).folder
        (folder / "checkpoints").mkdir()
        (folder / "history.jsonl").touch()
        for path in (runs_dir, folder):
            path.chmod(0o777)
        (runs_dir / name).chmod(0)
    yield folders
    for runs_dir in folders:
        for path in (runs_dir, runs_dir / "one", runs_dir / "one/checkpoints"):
            path.chmod(0o777)
        shutil.rmtree(runs_dir)


def test_an_unreadable_file_of_a_run_is_named_with_the_user(unreadable: list[Path]) -> None:
    lines = run_as_stranger(IMPORTS, READ, *unreadable).splitlines()
    for runs_dir, line in zip(unreadable, lines, strict=True):
        assert line.startswith(f"2 {runs_dir}")
        assert "Permission denied" in line
        assert f"(uid {UID})" in line


def test_the_newest_run_is_found_by_its_own_name_below_the_folder_as_it_was_given(tmp_path: Path) -> None:
    assert read_newest(tmp_path) is None
    begin(tmp_path)
    found = read_newest(tmp_path)
    assert found is not None
    assert (found.folder, found.status) == (tmp_path / "one", "running")
    (tmp_path / "one").rename(tmp_path / "moved")
    assert read_newest(tmp_path) is None


def test_a_description_that_is_not_one_is_named(tmp_path: Path) -> None:
    path = begin(tmp_path).folder / "run.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "description": 3}))
    with pytest.raises(DataError, match="its 'description' is neither"):
        read_newest(tmp_path)


def test_a_lock_that_is_no_text_has_no_run_to_announce(tmp_path: Path) -> None:
    (tmp_path / ".lock").write_bytes(b"\xff\xfe")
    with RunsFolder(tmp_path) as folder:
        assert not folder.unannounced.isascii()


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (None, "No such file"),
        (b"", "Expecting value"),
        (b'{"run_id": "one"', "Expecting"),
        (b"\xff", "codec can't decode"),
        (b"[]", "it is not a JSON object"),
        (b"null", "it is not a JSON object"),
        (b'{"format": 4}', "its 'run_id' is not a str"),
        (b'{"format": 4, "run_id": "one", "status": "running"}', "its 'resumed' is not a list"),
        (b"[" * 100_000, "recursion"),
    ],
)
def test_an_invalid_record_is_named(tmp_path: Path, content: bytes | None, expected: str) -> None:
    path = begin(tmp_path).folder / "run.json"
    if content is None:
        path.unlink()
    else:
        path.write_bytes(content)
    with pytest.raises(
        DataError, match=f"^{path}: cannot be read: .*{expected}.* RESUME=never to start a new run$"
    ):
        read_newest(tmp_path)
