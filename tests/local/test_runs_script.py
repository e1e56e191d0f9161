"""`make runs`, as its recipe runs it."""

import os
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def list_runs(runs_dir: Path, where: str, *arguments: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        ["local/runs.sh", *arguments],
        cwd=ROOT,
        env={**os.environ, "RUNS_DIR": str(runs_dir), "FROM": where},
        capture_output=True,
        text=True,
        check=False,
    )


def test_it_lists_the_runs_of_make_run(tmp_path: Path) -> None:
    (tmp_path / "one").mkdir()
    (tmp_path / "one" / "run.json").write_text('{"status": "finished", "rounds": 3}')
    done = list_runs(tmp_path, "")
    assert done.returncode == 0
    assert "one" in done.stdout
    assert '"run_id": "one"' in list_runs(tmp_path, "", "show", "one", "--json").stdout


@pytest.mark.parametrize("where", ["elsewhere", "container"])
def test_a_place_that_it_does_not_know_is_refused(tmp_path: Path, where: str) -> None:
    done = list_runs(tmp_path, where)
    assert done.returncode == 2
    assert f"FROM={where}: expected containers" in done.stderr
