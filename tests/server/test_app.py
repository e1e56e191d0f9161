"""The ServerApp: on Flower's grids, and what is left of a run however it ends."""

import json
import logging
import os
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from flwr.app import Context, RecordDict

from fedmx import FLOWER_VERSION, __version__
from fedmx.errors import DataError, SettingsError, StopSignal, TooFewNodesError, TrainingFailedError
from fedmx.run_state import STOPPED
from fedmx.settings import ServerSettings, load
from server.app import app
from server.federation import federate
from server.record import resume
from server.record.resume import Start
from server.record.runs import RunsFolder
from server.serving import run_number
from tests.server.local_grid import LocalGrid
from tests.server.nodes import GOOD, Config, Metrics, NullNode, Values, shift


@pytest.fixture(autouse=True)
def _environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RUNS_DIR", str(tmp_path / "environment"))
    monkeypatch.setenv("NUM_ROUNDS", "5")
    monkeypatch.setenv("MIN_CLIENTS", "1")
    monkeypatch.setenv("JOIN_WINDOW", "0")


def run(nodes: list[NullNode], **run_config: Any) -> None:
    given = {name.replace("_", "-"): value for name, value in run_config.items()}
    context = Context(1, 1, node_config={}, state=RecordDict(), run_config=given)
    app(LocalGrid(dict(enumerate(nodes, start=100))), context)


def facts(runs_dir: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((runs_dir / "latest" / "run.json").read_text())
    return found


def history(runs_dir: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (runs_dir / "latest" / "history.jsonl").read_text().splitlines()]


def test_settings_come_from_the_run_config_before_the_environment(tmp_path: Path) -> None:
    runs_dir = tmp_path / "config"
    run([NullNode(shift(1.0))], num_rounds=2, runs_dir=str(runs_dir), strategy_args='{"fraction_train": 1.0}')
    found = facts(runs_dir)
    assert (found["status"], found["rounds"]) == ("finished", 2)
    assert found["settings"]["STRATEGY_ARGS"] == {"fraction_train": 1.0}
    assert found["settings"]["MIN_CLIENTS"] == 1, "from the environment"
    assert not (tmp_path / "environment").exists()


def test_without_a_run_config_the_environment_counts(tmp_path: Path) -> None:
    run([NullNode()])
    assert facts(tmp_path / "environment")["rounds"] == 5


def test_a_wrong_run_config_is_reported_by_the_settings_name() -> None:
    with pytest.raises(SettingsError, match=r"^NUM_ROUNDS='0': expected an integer of at least 1$"):
        run([NullNode()], num_rounds=0)


def test_unknown_names_in_the_run_config_are_reported_with_the_most_similar_setting(tmp_path: Path) -> None:
    with pytest.raises(SettingsError) as caught:
        run([NullNode()], learning_rat=0.1, num_rounds=0)
    (value, name) = str(caught.value).splitlines()
    assert value.startswith("NUM_ROUNDS='0'")
    assert name.startswith("learning-rat in the run config")
    assert "LEARNING_RATE" in name
    assert not (tmp_path / "environment").exists()


def test_an_error_is_logged_by_its_line_and_not_by_flower_again(
    capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    with pytest.raises(SettingsError) as caught:
        run([NullNode()], num_rounds=0)
    flower = logging.getLogger("flwr")
    # As Flower's process does with an exception of the app, and at its end.
    flower.error("%s raised an exception", "ServerApp", exc_info=caught.value)
    flower.error("Exit Code: 201\nAn unhandled exception occurred")
    flower.error("another line")
    assert capsys.readouterr().err == "NUM_ROUNDS='0': expected an integer of at least 1\n"
    assert caplog.messages == ["another line"]


def test_an_app_refuses_a_process_with_other_packages(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    installed = {"flwr": FLOWER_VERSION, "fedmx": "0.0.7"}
    monkeypatch.setattr("fedmx.flower_app.metadata.version", installed.__getitem__)
    with pytest.raises(
        SettingsError, match=rf"^fedmx 0\.0\.7 is installed.* fedmx {re.escape(__version__)},"
    ):
        run([NullNode()])
    installed["flwr"] = "1.41.0"
    with pytest.raises(SettingsError, match=rf"^flwr 1\.41\.0 is.* flwr {re.escape(FLOWER_VERSION)},"):
        run([NullNode()])
    assert not (tmp_path / "environment").exists()


def stop_while(parent: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Have a node's training end with what Flower's processes raise when they have handled a signal."""

    def stop(*_: Any) -> tuple[Values, Metrics]:
        monkeypatch.setattr("server.flower_run.os.getppid", lambda: parent)
        raise SystemExit(0)

    # Only the first round is left of a run like this.
    with pytest.raises(SystemExit):
        run([NullNode(stop)], num_rounds=2)


def test_a_stopped_run_is_interrupted_and_the_next_one_is_new_unless_resume_is_force(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stop_while(os.getppid(), monkeypatch)
    stopped = facts(tmp_path / "environment")
    assert (stopped["status"], stopped["reason"]) == ("interrupted", STOPPED)
    monkeypatch.setenv("RESUME", "force")
    settings = load(ServerSettings)
    assert resume.choose_run(settings).run_id == stopped["run_id"]
    monkeypatch.setenv("RESUME", "auto")
    run([NullNode()], num_rounds=2)
    after = facts(tmp_path / "environment")
    assert (after["status"], after["resumed"]) == ("finished", [])
    assert after["run_id"] != stopped["run_id"]


def test_a_run_whose_engine_ended_is_resumed_by_the_next_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stop_while(1 if os.getppid() != 1 else 2, monkeypatch)
    interrupted = facts(tmp_path / "environment")
    assert interrupted["status"] == "interrupted"
    assert "reason" not in interrupted
    run([NullNode()], num_rounds=2)
    after = facts(tmp_path / "environment")
    assert (after["status"], after["run_id"], len(after["resumed"])) == ("finished", interrupted["run_id"], 1)


def test_a_second_app_in_one_runs_folder_is_refused_and_leaves_the_first_alone(tmp_path: Path) -> None:
    with RunsFolder(tmp_path / "environment"), pytest.raises(DataError, match=r"^RUNS_DIR=.*another server"):
        run([NullNode()])


def test_nodes_of_flowers_engines_are_named_by_their_number_and_hold_partitions(tmp_path: Path) -> None:
    nodes = [NullNode(shift(1.0)), NullNode(shift(3.0))]
    run(nodes, num_rounds=1, min_clients=2)
    (line,) = history(tmp_path / "environment")
    assert [(node["name"], node["partition"]) for node in line["nodes"]] == [("100", 0), ("101", 1)]
    assert [node["bytes_up"] for node in line["nodes"]] == [None, None], "not known there"
    with np.load(tmp_path / "environment" / "latest" / "model.npz") as file:
        assert file["0.weight"][0, 0] == 2.0


def test_a_node_that_vanishes_between_rounds_gives_its_partition_to_a_newcomer(tmp_path: Path) -> None:
    grid: LocalGrid

    def leave(values: Values, _: Config) -> Metrics:
        if 2 in grid.nodes:
            del grid.nodes[2]
            grid.nodes[3] = NullNode()
        return GOOD

    grid = LocalGrid({1: NullNode(evaluate=leave), 2: NullNode()})
    settings = ServerSettings(num_rounds=2, num_partitions=2, runs_dir=tmp_path)
    grid._reverse = True
    federate(grid, settings, Start("run"))
    held = [[(n["name"], n["partition"]) for n in line["nodes"]] for line in history(tmp_path)]
    assert held == [[("1", 0), ("2", 1)], [("1", 0), ("3", 1)]]


def end_with(tmp_path: Path, error: BaseException) -> dict[str, Any]:
    def raise_it(*_: Any) -> tuple[Values, Metrics]:
        raise error

    settings = ServerSettings(num_partitions=1, min_clients=1, runs_dir=tmp_path, lease_grace=0.0)
    with pytest.raises(type(error)):
        federate(LocalGrid({1: NullNode(raise_it)}), settings, Start("run"))
    assert not (tmp_path / "run" / "model.npz").exists()
    return facts(tmp_path)


def test_a_signal_leaves_an_interrupted_run(tmp_path: Path) -> None:
    found = end_with(tmp_path, StopSignal(15))
    assert found["status"] == "interrupted"
    assert "reason" not in found


def test_a_bug_leaves_a_failed_run(tmp_path: Path) -> None:
    found = end_with(tmp_path, RuntimeError("a bug"))
    assert (found["status"], found["reason"]) == ("failed", "a bug")


def test_a_disk_that_takes_no_model_is_one_line_and_a_failed_run(tmp_path: Path) -> None:
    def block(*_: Any) -> Metrics:
        (tmp_path / "run" / "model.npz").mkdir()
        return GOOD

    settings = ServerSettings(num_rounds=1, num_partitions=1, min_clients=1, runs_dir=tmp_path)
    with pytest.raises(TrainingFailedError) as caught:
        federate(LocalGrid({1: NullNode(evaluate=block)}), settings, Start("run"))
    assert str(caught.value) == (
        f"{tmp_path}/run/model.npz: cannot be written: Is a directory; expected a writable folder with"
        " room for it; the run resumes after its newest checkpoint when the server is started again"
    )
    assert (facts(tmp_path)["status"], facts(tmp_path)["reason"]) == ("failed", str(caught.value))


def test_a_run_that_cannot_begin_is_recorded_with_its_reason(tmp_path: Path) -> None:
    settings = ServerSettings(client_wait_timeout=0.1, runs_dir=tmp_path)
    with pytest.raises(TooFewNodesError, match="0 of 2 nodes were ready") as caught:
        federate(LocalGrid({}), settings, Start("run"))
    found = facts(tmp_path)
    assert (found["status"], found["reason"], found["exit_code"]) == ("failed", str(caught.value), 3)
    assert [path.name for path in (tmp_path / "run").iterdir()] == ["run.json"]


def test_a_runs_number_follows_from_its_name_and_fits_flowers_field() -> None:
    assert run_number("one") == run_number("one") != run_number("two")
    assert 0 <= run_number("one") < 2**63
