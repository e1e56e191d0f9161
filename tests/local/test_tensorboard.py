"""`make tensorboard`, as its recipe runs it."""

import json
import os
import re
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest

from server.trackers.event_files import EventFiles
from server.trackers.http_client import Call, WebAddress, send
from tests.bounds import HANG_S
from tests.tools import find_tool_python

ROOT = Path(__file__).parents[2]


@contextmanager
def tensorboard(folder: Path) -> Iterator[str]:
    """Start it for a folder of runs, and yield its address."""
    find_tool_python("tensorboard")
    log = folder / "tensorboard.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            ["local/tensorboard.sh", "--port", "0"],
            cwd=ROOT,
            env={**os.environ, "RUNS_DIR": str(folder), "FROM": ""},
            stdout=output,
            stderr=output,
        )
    try:
        deadline = time.monotonic() + HANG_S
        while (found := re.search(r"http://localhost:\d+", log.read_text())) is None:
            assert process.poll() is None, log.read_text()
            assert time.monotonic() < deadline, log.read_text()
            time.sleep(0.05)
        yield found[0]
    finally:
        process.kill()
        process.wait()


def fetch(url: str, path: str) -> Any:
    return json.loads(send(WebAddress(url, {}), Call("GET", path), HANG_S))


def read_points(url: str, run: str, tag: str) -> list[list[float]]:
    """Return steps and values, as TensorBoard's page receives them."""
    points = fetch(url, f"/data/plugin/scalars/scalars?{urlencode({'run': run, 'tag': tag})}")
    return [point[1:] for point in points]


def wait_for_runs(url: str, number: int) -> set[str]:
    """Wait until TensorBoard has found so many runs, and return their names."""
    deadline = time.monotonic() + HANG_S
    while True:
        runs = fetch(url, "/data/runs")
        if len(runs) == number:
            return set(runs)
        assert time.monotonic() < deadline, runs
        time.sleep(0.1)


def make_line(number: int, loss: float) -> dict[str, Any]:
    evaluate = {"num_examples": 10, "metrics": {"loss": loss}}
    entry = {"name": "site.1", "examples": None, "metrics": {}, "evaluate": evaluate}
    return {"round": number, "nodes": [entry], "evaluate": evaluate, "seconds": {"total": 1.0}}


def test_it_shows_the_federation_and_its_nodes_and_of_a_resumed_run_no_round_twice(tmp_path: Path) -> None:
    folder = tmp_path / "tensorboard" / "20260101-000000"
    EventFiles(folder).write_rounds([make_line(1, 0.5), make_line(2, 0.25), make_line(3, 99.0)])
    # Another server trains round 3 again.
    EventFiles(folder).write_rounds([make_line(3, 0.125), make_line(4, 0.0625)])
    with tensorboard(tmp_path) as url:
        runs = wait_for_runs(url, 2)
        assert runs == {"20260101-000000", "20260101-000000/site.1"}
        for run in runs:
            points = [[1, 0.5], [2, 0.25], [3, 0.125], [4, 0.0625]]
            assert read_points(url, run, "evaluate/loss") == points


@pytest.mark.parametrize("where", ["elsewhere", "container"])
def test_a_place_that_it_does_not_know_is_refused(where: str) -> None:
    done = subprocess.run(
        ["local/tensorboard.sh"],
        cwd=ROOT,
        env={**os.environ, "FROM": where},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert f"FROM={where}: expected containers" in done.stderr
