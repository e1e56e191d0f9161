"""`make runs` and `make events`, as their recipes run them."""

import os
import subprocess
from pathlib import Path

import pytest

from fedmx.event_log import EventLog

ROOT = Path(__file__).parents[2]


def run(script: str, runs_dir: Path, where: str, *arguments: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [f"local/{script}.sh", *arguments],
        cwd=ROOT,
        env={**os.environ, "RUNS_DIR": str(runs_dir), "PKI_DIR": str(runs_dir / "pki"), "FROM": where},
        capture_output=True,
        text=True,
        check=False,
    )


def test_the_runs_of_make_run_are_listed(tmp_path: Path) -> None:
    (tmp_path / "one").mkdir()
    (tmp_path / "one" / "run.json").write_text('{"status": "finished", "rounds": 3}')
    done = run("runs", tmp_path, "")
    assert done.returncode == 0
    assert "one" in done.stdout
    assert '"run_id": "one"' in run("runs", tmp_path, "", "show", "one", "--json").stdout


def test_the_events_of_make_run_are_listed(tmp_path: Path) -> None:
    EventLog(tmp_path).note("node joined", node="local.client-1")
    done = run("events", tmp_path, "")
    assert done.returncode == 0, done.stderr
    assert "local.client-1" in done.stdout
    assert '"node": "local.client-1"' in run("events", tmp_path, "", "--json", "--since", "1h").stdout


@pytest.mark.parametrize("script", ["runs", "events"])
@pytest.mark.parametrize("where", ["elsewhere", "container"])
def test_an_unknown_place_is_refused(tmp_path: Path, script: str, where: str) -> None:
    done = run(script, tmp_path, where)
    assert done.returncode == 2
    assert f"FROM={where}: expected containers" in done.stderr
