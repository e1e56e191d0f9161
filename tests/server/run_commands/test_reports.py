"""`python -m server runs report`: one file, written, replaced by force, or printed."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from fedmx.errors import FederationError
from tests.server.federation import Federation
from tests.server.run_commands.conftest import Run
from tests.tools import ROOT


def test_a_report_is_one_file_with_the_runs_and_without_outside_resources(
    run: Run, runs: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert f"{runs[0]}.html" in run("report", *runs[:2])
    assert [path.name for path in tmp_path.iterdir()] == [f"{runs[0]}.html"]
    page = (tmp_path / f"{runs[0]}.html").read_text(encoding="utf-8")
    assert page.lower().startswith("<!doctype html>")
    for value in ("first try", *runs[:2]):
        assert value in page
    assert not re.search(r"""(?:src|href)=["']?(?:https?:)?//""", page)


def test_a_report_replaces_a_file_only_by_force(run: Run, runs: list[str], tmp_path: Path) -> None:
    path = tmp_path / "report.html"
    path.write_text("mine")
    with pytest.raises(FederationError, match="exists already") as caught:
        run("report", runs[0], "--output", str(path))
    assert (caught.value.exit_code, path.read_text()) == (2, "mine")
    run("report", runs[0], "--output", str(path), "--force")
    assert runs[0] in path.read_text(encoding="utf-8")


def test_a_report_that_cannot_be_written_is_one_line(run: Run, runs: list[str], tmp_path: Path) -> None:
    with pytest.raises(FederationError, match=r"absent/report\.html: cannot be written") as caught:
        run("report", runs[0], "--output", str(tmp_path / "absent" / "report.html"))
    assert caught.value.exit_code == 2


def test_a_report_can_go_to_standard_output(runs: list[str], federation: Federation) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "server", "runs", "report", "latest", "--output", "-"],
        cwd=ROOT,
        env={**os.environ, "RUNS_DIR": str(federation.runs_dir)},
        capture_output=True,
        check=True,
    )
    assert done.stdout.lower().startswith(b"<!doctype html>")
    assert runs[2].encode() in done.stdout
