"""Runs on an MLflow server: one that never answers or fails here, and the real one in the slow tests."""

import hashlib
import json
import os
import subprocess
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from fedmx.errors import TrainingFailedError
from server.record.series import list_node_values, list_values
from server.trackers import mlflow
from server.trackers.http_client import Call, RequestError, WebAddress, send
from server.trackers.mlflow_api import Tracker, as_parameter
from tests.bounds import HANG_S
from tests.ports import find_free_port
from tests.server.federation import Federation
from tests.server.nodes import NullNode, fail_in, shift
from tests.tools import find_tool_python
from tests.web import hanging_server, recording_server

# Reads a run back by MLflow's own client.
READER = """
import hashlib, json, sys, tempfile
from mlflow import MlflowClient

uri, experiment = sys.argv[1:]
client = MlflowClient(uri)
runs = client.search_runs([client.get_experiment_by_name(experiment).experiment_id])
found = []
for run in runs:
    history = {}
    for key in run.data.metrics:
        points = client.get_metric_history(run.info.run_id, key)
        history[key] = sorted([point.step, point.value] for point in points)
    files = {}
    for each in client.list_artifacts(run.info.run_id):
        with tempfile.TemporaryDirectory() as folder:
            path = client.download_artifacts(run.info.run_id, each.path, folder)
            files[each.path] = hashlib.sha256(open(path, "rb").read()).hexdigest()
    found.append(
        {
            "name": run.info.run_name,
            "status": run.info.status,
            "params": run.data.params,
            "tags": run.data.tags,
            "metrics": history,
            "files": files,
        }
    )
print(json.dumps(found))
"""


@pytest.fixture
def warnings(caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> pytest.LogCaptureFixture:
    monkeypatch.setattr("fedmx.log.logger.propagate", True)
    return caplog


@pytest.fixture(autouse=True)
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Raise the limits, which a busy machine would exceed."""
    monkeypatch.setattr("server.trackers.mlflow_api.LIMIT_S", HANG_S)
    monkeypatch.setattr("server.reporting.calls._HANGS_AFTER_S", HANG_S)
    monkeypatch.setattr(mlflow.MLflow, "patience_s", HANG_S)


def list_warnings(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.message for record in caplog.records if record.levelname == "WARNING"]


def expect_metrics(history: list[dict[str, Any]]) -> dict[str, list[list[float]]]:
    """Return the metrics that a history leads to, by key."""
    metrics: dict[str, list[list[float]]] = {}
    for line in history:
        nodes = {
            f"nodes/{node}/{name}": value
            for node, values in list_node_values(line)
            for name, value in values.items()
        }
        for name, value in {**list_values(line), **nodes}.items():
            metrics.setdefault(name, []).append([line["round"], value])
    return metrics


def run_server(folder: Path, *arguments: str) -> Iterator[str]:
    """Run a real MLflow server, and yield its address."""
    port = find_free_port()
    options = ["--host", "127.0.0.1", "--port", str(port), "--workers", "1", *arguments]
    store = ["--backend-store-uri", f"sqlite:///{folder}/mlflow.db"]
    command = [find_tool_python("mlflow"), "-m", "mlflow", "server", *store, *options]
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(command, cwd=folder, stdout=log, stderr=log, start_new_session=True)
    url = f"http://127.0.0.1:{port}"
    try:
        wait_for(url, process, folder / "log")
        yield url
    finally:
        os.killpg(process.pid, 9)
        process.wait()


def wait_for(url: str, process: "subprocess.Popen[bytes]", log: Path) -> None:
    deadline = time.monotonic() + HANG_S
    while True:
        assert process.poll() is None, log.read_text()
        assert time.monotonic() < deadline, log.read_text()
        with suppress(RequestError):
            send(WebAddress(url, {}), Call("GET", "/health"), HANG_S)
            return
        time.sleep(0.1)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A real MLflow server that stores artifacts for its clients, as by default."""
    folder = tmp_path_factory.mktemp("mlflow")
    yield from run_server(folder, "--artifacts-destination", str(folder / "artifacts"))


@pytest.fixture
def bare_server(tmp_path: Path) -> Iterator[str]:
    """A real MLflow server that stores no artifacts for its clients."""
    folder = tmp_path / "mlflow"
    folder.mkdir()
    root = str(folder / "artifacts")
    yield from run_server(folder, "--no-serve-artifacts", "--default-artifact-root", root)


def read(url: str, experiment: str) -> list[dict[str, Any]]:
    """Return the runs of an experiment, newest first, as MLflow's client has them."""
    command = [find_tool_python("mlflow"), "-c", READER, url, experiment]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    found: list[dict[str, Any]] = json.loads(done.stdout.splitlines()[-1])
    return found


@pytest.mark.slow
def test_a_run_has_all_settings_metrics_and_files(server: str, federation: Federation) -> None:
    nodes = {"a": NullNode(shift(1.0, loss=0.25)), "b": NullNode(shift(2.0))}
    names = {"run_name": "a name", "run_notes": "two\nlines", "run_tags": ("x", "y")}
    tracker = {"mlflow_tracking_uri": server, "mlflow_experiment_name": "whole"}
    federation.run(nodes, num_rounds=3, **names, **tracker)
    [run] = read(server, "whole")
    facts = federation.facts
    assert (run["name"], run["status"]) == ("a name", "FINISHED")
    assert (run["tags"]["mlflow.note.content"], run["tags"]["fedmx.tags"]) == ("two\nlines", "x,y")
    assert run["tags"]["fedmx.run_id"] == facts["run_id"]
    assert run["params"] == {name: as_parameter(value) for name, value in facts["settings"].items()}
    assert run["params"]["MLFLOW_TRACKING_URI"] == "(hidden)"
    assert run["metrics"] == expect_metrics(federation.history)
    assert [step for step, _ in run["metrics"]["nodes/a/evaluate/loss"]] == [1, 2, 3]
    assert {"evaluate/loss", "train/loss", "learning_rate", "seconds/total"} <= run["metrics"].keys()
    for name in ("model.npz", "model.params", "best.npz", "run.json"):
        assert run["files"][name] == hashlib.sha256((federation.folder / name).read_bytes()).hexdigest()


@pytest.mark.slow
def test_a_resumed_run_is_one_run_with_each_round_once(server: str, federation: Federation) -> None:
    tracker = {"mlflow_tracking_uri": server, "mlflow_experiment_name": "resumed"}
    with pytest.raises(TrainingFailedError):
        federation.run({"a": fail_in(3)}, num_rounds=4, **tracker)
    [failed] = read(server, "resumed")
    assert failed["status"] == "FAILED"
    assert failed["metrics"] == expect_metrics(federation.history)
    federation.run(
        {"a": NullNode()}, num_rounds=4, learning_rate=0.5, run_name="again", resume="force", **tracker
    )
    [run] = read(server, "resumed")
    assert (run["name"], run["status"]) == ("again", "FINISHED")
    # The history has lost how long the checkpoint of round 2 took, which the first server has sent.
    measured = ("seconds/checkpoint", "seconds/total")
    assert {key: points for key, points in run["metrics"].items() if key not in measured} == {
        key: points for key, points in expect_metrics(federation.history).items() if key not in measured
    }
    assert [step for step, _ in run["metrics"]["seconds/total"]] == [1, 2, 3, 4]
    assert [step for step, _ in run["metrics"]["evaluate/loss"]] == [1, 2, 3, 4]
    assert (run["params"]["LEARNING_RATE"], run["tags"]["changed.LEARNING_RATE"]) == ("0.05", "0.5")


@pytest.mark.slow
def test_rounds_that_could_not_be_sent_are_sent_later_and_none_twice(
    server: str, federation: Federation, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mlflow, "_PAUSE_S", 0.0)
    with pytest.raises(TrainingFailedError):
        federation.run({"a": fail_in(3)}, num_rounds=4)
    tracker = {"mlflow_tracking_uri": server, "mlflow_experiment_name": "late"}
    send = Tracker.log_metrics
    calls = []

    def fail_after(self: Tracker, *given: Any) -> None:
        """Send the metrics, but lose the answer, each second time."""
        send(self, *given)
        calls.append(given)
        if len(calls) % 2:
            raise RequestError("the connection was lost")

    monkeypatch.setattr(Tracker, "log_metrics", fail_after)
    federation.run({"a": NullNode()}, num_rounds=4, resume="force", **tracker)
    [run] = read(server, "late")
    assert len(calls) > 4
    assert run["metrics"] == expect_metrics(federation.history)


@pytest.mark.slow
def test_more_metrics_than_a_request_may_have_are_sent_in_several(server: str, tmp_path: Path) -> None:
    tracker = Tracker.build(server, "", "", "")
    run_id = tracker.create_run(tracker.find_experiment("many"), "many", 1, {})["info"]["run_id"]
    many = [{"key": f"m/{index}", "value": index, "timestamp": 1, "step": 1} for index in range(2500)]
    tracker.log_metrics(run_id, many)
    tracker.log_parameters(run_id, {f"P{index}": "x" * 10_000 for index in range(150)})
    data = tracker.find_run(run_id)["data"]
    assert (len(data["metrics"]), len(data["params"])) == (2500, 150)
    assert {len(entry["value"]) for entry in data["params"]} == {6000}


@pytest.mark.slow
def test_a_server_that_stores_no_artifacts_is_one_warning_and_has_the_rest(
    bare_server: str, federation: Federation, warnings: pytest.LogCaptureFixture
) -> None:
    federation.run({"a": NullNode()}, mlflow_tracking_uri=bare_server)
    [run] = read(bare_server, "fedmx")
    assert (run["status"], run["files"]) == ("FINISHED", {})
    [warning] = list_warnings(warnings)
    assert "--serve-artifacts" in warning


def test_a_tracker_that_never_answers_costs_a_warning_then_and_at_the_end_and_no_round(
    federation: Federation, warnings: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("server.trackers.mlflow_api.LIMIT_S", 0.2)
    with hanging_server() as url:
        federation.run({"a": NullNode()}, num_rounds=5, mlflow_tracking_uri=url)
    assert (federation.facts["status"], len(federation.history)) == ("finished", 5)
    [warning, end] = list_warnings(warnings)
    assert "end of the run" in end
    assert "no answer within" in warning


@pytest.mark.parametrize("status", [401, 403, 404, 500, 302])
def test_a_tracker_that_refuses_costs_a_warning_then_and_at_the_end_and_no_round(
    status: int, federation: Federation, warnings: pytest.LogCaptureFixture
) -> None:
    with recording_server(*[status] * 20, body=b"<html>") as web:
        address = web.url.replace("//", "//me:s3cret@")
        federation.run({"a": NullNode()}, num_rounds=5, mlflow_tracking_uri=f"{address}/mlflow")
    assert (federation.facts["status"], len(federation.history)) == ("finished", 5)
    [warning, end] = list_warnings(warnings)
    assert "end of the run" in end
    assert f"HTTP {status}" in warning
    assert web.url in warning
    assert "s3cret" not in warnings.text
    # It was asked at the start and at the end, but not in each round.
    assert len(web.received) == 2
    assert web.received[0].path.startswith("/mlflow/api/2.0/mlflow/")


def test_an_address_of_something_else_is_a_warning_then_and_at_the_end(
    federation: Federation, warnings: pytest.LogCaptureFixture
) -> None:
    with recording_server(body=b"<html>") as web:
        federation.run({"a": NullNode()}, mlflow_tracking_uri=web.url)
    [warning, end] = list_warnings(warnings)
    assert "end of the run" in end
    assert "expected the address of an MLflow server" in warning


def test_an_address_where_nothing_listens_is_a_warning_then_and_at_the_end(
    federation: Federation, warnings: pytest.LogCaptureFixture
) -> None:
    with recording_server() as web:
        pass
    federation.run({"a": NullNode()}, num_rounds=3, mlflow_tracking_uri=web.url)
    assert len(federation.history) == 3
    [warning, end] = list_warnings(warnings)
    assert "end of the run" in end
    assert "refused" in warning


@pytest.mark.parametrize(
    ("user", "password", "token", "expected"),
    [
        ("", "", "", "Basic aW46VVJM"),
        ("me", "pass", "", "Basic bWU6cGFzcw=="),
        ("me", "pass", "abc", "Bearer abc"),
    ],
)
def test_a_token_takes_precedence_over_a_user_and_a_user_over_the_address(
    user: str, password: str, token: str, expected: str
) -> None:
    with recording_server() as web:
        tracker = Tracker.build(web.url.replace("//", "//in:URL@"), user, password, token)
        tracker.update_run("1", "RUNNING")
    assert [request.headers["authorization"] for request in web.received] == [expected]
