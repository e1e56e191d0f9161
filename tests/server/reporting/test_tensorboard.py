"""TensorBoard's files, as TensorBoard itself reads them."""

import json
import subprocess
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fedmx.errors import TrainingFailedError
from server.record.series import list_node_values, list_values
from server.trackers.event_files import EventFiles
from tests.bounds import HANG_S
from tests.server.federation import Federation
from tests.server.nodes import NullNode, fail_in, shift
from tests.tools import find_tool_python

# Reads every run below a folder by TensorBoard's own module.
READER = """
import json, logging, sys
from tensorboard.backend.event_processing.plugin_event_multiplexer import EventMultiplexer

logging.disable()
multiplexer = EventMultiplexer(tensor_size_guidance={"scalars": 0})
multiplexer.AddRunsFromDirectory(sys.argv[1]).Reload()
found = {}
for run, tags in multiplexer.Runs().items():
    accumulator = multiplexer.GetAccumulator(run)
    series, texts, plugins = {}, {}, {}
    for tag in tags["tensors"]:
        plugin = accumulator.SummaryMetadata(tag).plugin_data.plugin_name
        plugins[tag] = plugin
        for each in accumulator.Tensors(tag):
            if plugin == "scalars":
                series.setdefault(tag, []).append([each.step, each.tensor_proto.float_val[0], each.wall_time])
            elif plugin == "text":
                texts[tag] = each.tensor_proto.string_val[0].decode()
    found[run] = {"series": series, "texts": texts, "plugins": plugins}
print(json.dumps(found))
"""


@pytest.fixture(autouse=True)
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Raise the limits, which a busy machine would exceed."""
    monkeypatch.setattr("server.reporting.calls._HANGS_AFTER_S", HANG_S)
    monkeypatch.setattr("server.trackers.tensorboard.TensorBoard.patience_s", HANG_S)


def read(folder: Path) -> dict[str, Any]:
    """Return what TensorBoard shows of a folder, by run."""
    command = [find_tool_python("tensorboard"), "-c", READER, str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def expect_series(
    history: list[dict[str, Any]], node: str | None = None
) -> dict[str, list[tuple[int, float]]]:
    """Return the series that a history leads to, as single precision has them."""
    series: dict[str, list[tuple[int, float]]] = {}
    for line in history:
        values = list_values(line) if node is None else dict(list_node_values(line)).get(node, {})
        for name, value in values.items():
            series.setdefault(name, []).append((line["round"], float(np.float32(value))))
    return series


def shorten(run: dict[str, Any]) -> dict[str, list[tuple[int, float]]]:
    """Return the series of a run without their times."""
    return {tag: [(step, value) for step, value, _ in points] for tag, points in run["series"].items()}


def test_every_round_of_the_federation_and_of_each_node_is_shown(federation: Federation) -> None:
    nodes = {"a": NullNode(shift(1.0, loss=0.25)), "b": NullNode(shift(2.0))}
    federation.run(nodes, num_rounds=4, tensorboard="on")
    run_id = federation.facts["run_id"]
    shown = read(federation.runs_dir / "tensorboard")
    assert shown.keys() == {run_id, f"{run_id}/a", f"{run_id}/b"}
    assert shorten(shown[run_id]) == expect_series(federation.history)
    for node in ("a", "b"):
        assert shorten(shown[f"{run_id}/{node}"]) == expect_series(federation.history, node)
    assert [step for step, *_ in shown[run_id]["series"]["evaluate/loss"]] == [1, 2, 3, 4]
    assert {"train/loss", "learning_rate", "seconds/total"} <= shown[run_id]["series"].keys()
    # The same names, so that one chart shows the nodes and the federation.
    assert {"evaluate/loss", "train/loss"} <= shown[f"{run_id}/a"]["series"].keys()
    assert shown[f"{run_id}/a"]["series"]["train/loss"][0][1] == 0.25


def test_settings_are_shown_as_a_text_and_as_what_runs_are_compared_by(federation: Federation) -> None:
    federation.run({"a": NullNode()}, tensorboard="on", seed=7, on_end_webhook="http://127.0.0.1:9/secret")
    run = read(federation.runs_dir / "tensorboard")[federation.facts["run_id"]]
    [table] = run["texts"].values()
    assert "| SEED | 7 |" in table
    assert "| ON_END_WEBHOOK | (hidden) |" in table
    assert run["plugins"]["_hparams_/session_start_info"] == "hparams"


def test_a_resumed_run_has_each_round_once_though_an_earlier_server_wrote_other_ones(
    federation: Federation,
) -> None:
    with pytest.raises(TrainingFailedError):
        federation.run({"a": fail_in(3), "b": NullNode()}, num_rounds=5, tensorboard="on")
    run_id = federation.facts["run_id"]
    # As if a later round had been written whose checkpoint was lost.
    later = json.loads(json.dumps(federation.history[-1]))
    EventFiles(federation.runs_dir / "tensorboard" / run_id).write_rounds([later | {"round": 4}])
    federation.run({"a": NullNode(), "b": NullNode()}, num_rounds=5, tensorboard="on", resume="force")
    assert federation.facts["run_id"] == run_id
    shown = read(federation.runs_dir / "tensorboard")
    assert shorten(shown[run_id]) == expect_series(federation.history)
    assert [step for step, *_ in shown[f"{run_id}/a"]["series"]["evaluate/loss"]] == [1, 2, 3, 4, 5]
    # Nothing is left of the first server's files.
    files = [path.parent.name for path in (federation.runs_dir / "tensorboard").rglob("*.fedmx")]
    assert sorted(files) == sorted([run_id, "a", "b"])


def test_rounds_that_were_trained_while_it_was_off_are_shown_after_the_run_is_resumed(
    federation: Federation,
) -> None:
    with pytest.raises(TrainingFailedError):
        federation.run({"a": fail_in(3)}, num_rounds=4)
    federation.run({"a": NullNode()}, num_rounds=4, tensorboard="on", resume="force")
    shown = read(federation.runs_dir / "tensorboard")
    assert [step for step, *_ in shown[federation.facts["run_id"]]["series"]["evaluate/loss"]] == [1, 2, 3, 4]


def test_a_new_file_is_begun_after_a_write_that_failed(tmp_path: Path) -> None:
    files = EventFiles(tmp_path / "run")
    files.write_rounds([make_line(1), make_line(2, loss=99.0)])
    [path] = (tmp_path / "run").glob("*.fedmx")
    # As if the disk had been full in the middle of a record.
    broken = path.rename(path.with_name("events.out.tfevents.0.fedmx"))
    with broken.open("ab") as file:
        file.write(b"\x20\0\0")
    path.mkdir()
    with pytest.raises(IsADirectoryError):
        files.write_rounds([make_line(2)])
    path.rmdir()
    files.write_rounds([make_line(2), make_line(3)])
    assert not path.exists()
    points = read(tmp_path)["run"]["series"]["evaluate/loss"]
    assert [(step, value) for step, value, _ in points] == [(1, 0.5), (2, 0.5), (3, 0.5)]


def test_no_file_stays_open_and_no_thread_is_started_for_a_node(tmp_path: Path) -> None:
    descriptors, threads = count_descriptors(), threading.active_count()
    files = EventFiles(tmp_path / "run")
    files.write_rounds([make_line(1, nodes=200)])
    assert len(list((tmp_path / "run").iterdir())) == 201
    assert count_descriptors() == descriptors
    assert threading.active_count() == threads


def test_a_name_of_a_node_cannot_lead_out_of_the_folder(tmp_path: Path) -> None:
    line = make_line(1)
    line["nodes"] = [line["nodes"][0] | {"name": name} for name in ("../../evil", "..", ".hidden", "a/b")]
    EventFiles(tmp_path / "run").write_rounds([line])
    assert {path.parent.parent for path in tmp_path.rglob("*.fedmx")} == {tmp_path, tmp_path / "run"}


def count_descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def make_line(number: int, nodes: int = 1, loss: float = 0.5) -> dict[str, Any]:
    entries = [
        {
            "name": f"node-{index}",
            "examples": 10,
            "metrics": {"loss": 0.5},
            "evaluate": {"num_examples": 10, "metrics": {"loss": 0.25}},
            "seconds": 1.0,
            "bytes_up": 1,
            "bytes_down": 2,
        }
        for index in range(nodes)
    ]
    evaluate = {"num_examples": 10, "metrics": {"loss": loss}}
    return {"round": number, "nodes": entries, "evaluate": evaluate, "seconds": {"total": 1.0}}
