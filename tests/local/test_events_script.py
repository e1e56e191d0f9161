"""`make events`, as its recipe runs it."""

import os
import subprocess
from pathlib import Path

import pytest

from fedmx.event_log import EventLog

ROOT = Path(__file__).parents[2]


def list_events(folder: Path, where: str, *arguments: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        ["local/events.sh", *arguments],
        cwd=ROOT,
        env={**os.environ, "RUNS_DIR": str(folder), "PKI_DIR": str(folder / "pki"), "FROM": where},
        capture_output=True,
        text=True,
        check=False,
    )


def test_it_lists_the_events_of_make_run(tmp_path: Path) -> None:
    EventLog(tmp_path).note("node joined", node="local.client-1")
    done = list_events(tmp_path, "")
    assert done.returncode == 0, done.stderr
    assert "local.client-1" in done.stdout
    assert '"node": "local.client-1"' in list_events(tmp_path, "", "--json", "--since", "1h").stdout


@pytest.mark.parametrize("where", ["elsewhere", "container"])
def test_a_place_that_it_does_not_know_is_refused(tmp_path: Path, where: str) -> None:
    done = list_events(tmp_path, where)
    assert done.returncode == 2
    assert f"FROM={where}: expected containers" in done.stderr
