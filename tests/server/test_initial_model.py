"""A run that starts from a model on disk instead of what its nodes build."""

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fedmx import arrays
from fedmx.errors import SettingsError, StopSignal, TooFewNodesError
from fedmx.settings import ServerSettings
from server.federation import federate
from server.initial_model import InitialModel
from server.layout import Layout
from server.record import mxnet_params, npz
from server.record.resume import choose_run
from tests.server.federation import Federation
from tests.server.local_grid import LocalGrid
from tests.server.nodes import Config, Metrics, NullNode, Values, measure, pack, shift

START: Values = {"0.weight": np.full((2, 3), 5, np.float32), "steps": np.array([7], np.int64)}
LAYOUT = Layout(
    {name: (value.dtype.name, value.shape) for name, value in START.items()},
    frozenset(("0.weight",)),
    frozenset(),
    frozenset(),
)
LIMIT = 2**20


def make_node(built: float = 0.0, **others: Any) -> NullNode:
    """Make a node that builds other initial arrays than those of the file."""
    initial: Values = {"0.weight": np.full((2, 3), built, np.float32), "steps": np.zeros(1, np.int64)}
    return NullNode(shift(1.0), initial=initial, running=("steps",), **others)


def write(folder: Path, name: str, values: Values = START) -> Path:
    folder.mkdir(exist_ok=True)
    path = folder / name
    if path.suffix == ".params":
        mxnet_params.save(pack(values), path)
    else:
        npz.save(npz.members_of(pack(values)), path)
    return path


@pytest.mark.parametrize("name", ["start.npz", "start.params", "model.npz"])
def test_round_1_starts_from_the_file_whatever_the_nodes_build(
    federation: Federation, tmp_path: Path, name: str
) -> None:
    path = write(tmp_path / "given", name)
    nodes = {"a": make_node(1.0), "b": make_node(2.0)}
    given = path.parent if name == "model.npz" else path
    federation.run(nodes, initial_model=given)
    assert federation.model["0.weight"].tolist() == [[6] * 3] * 2
    assert federation.model["steps"].tolist() == [8]
    assert [node.asked_to("query")[0]["with-arrays"] for node in nodes.values()] == [False, False]
    assert federation.facts["initial_model"] == {"path": str(path), "sha256": arrays.sha256(pack(START))}


def test_a_run_continues_from_the_newest_finished_one(federation: Federation) -> None:
    federation.run({"a": make_node()}, num_rounds=2)
    before = federation.facts["model_sha256"]
    federation.run({"a": make_node()}, initial_model=federation.folder)
    assert federation.facts["initial_model"]["sha256"] == before
    assert federation.model["0.weight"][0, 0] == 3


def test_a_run_without_an_initial_model_records_none(federation: Federation) -> None:
    federation.run({"a": NullNode()})
    assert federation.facts["initial_model"] is None


def test_a_node_without_the_frozen_arrays_of_the_file_is_sent_them(
    federation: Federation, tmp_path: Path
) -> None:
    def train(values: Values, _: Config) -> tuple[Values, Metrics]:
        return {"0.weight": values["0.weight"] + np.float32(1)}, measure({}, {})

    path = write(tmp_path / "given", "start.npz")
    has = {name: value.copy() for name, value in START.items()}
    holder = NullNode(train, initial=has, frozen=("steps",))
    other = NullNode(train, initial={**has, "steps": np.zeros(1, np.int64)}, frozen=("steps",))
    federation.run({"a": holder, "b": other}, initial_model=path)
    assert (holder.received, other.received) == ([("0.weight",)] * 2, [("0.weight", "steps")] * 2)
    assert federation.model["steps"].tolist() == [7]


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ({"0.weight": START["0.weight"]}, ["lacks 'steps'", "the 2 arrays", "'0.weight', 'steps'"]),
        ({**START, "1.bias": np.ones(2, np.float32)}, ["has '1.bias'"]),
        ({"dense0_weight": START["0.weight"]}, ["lacks '0.weight', 'steps'", "has 'dense0_weight'"]),
        ({**START, "0.weight": np.ones((3, 2), np.float32)}, ["'0.weight'", "(3, 2)", "(2, 3)"]),
        ({**START, "0.weight": np.ones((2, 3))}, ["'0.weight'", "float64", "float32"]),
        ({**START, "0.weight": np.full((2, 3), np.nan, np.float32)}, ["'0.weight'", "not finite"]),
    ],
)
def test_an_initial_model_that_differs_from_the_nodes_model_is_rejected_with_the_difference(
    federation: Federation, tmp_path: Path, values: Values, expected: list[str]
) -> None:
    path = write(tmp_path / "given", "start.npz", values)
    with pytest.raises(SettingsError) as caught:
        federation.run({"a": make_node()}, initial_model=path)
    line = str(caught.value)
    assert line.startswith(f"INITIAL_MODEL={path}: ")
    for text in expected:
        assert text in line
    assert (federation.facts["status"], federation.facts["exit_code"]) == ("failed", 2)


def test_an_array_that_two_layers_share_may_be_in_the_file_twice(tmp_path: Path) -> None:
    path = write(tmp_path / "given", "start.npz", {**START, "1.weight": START["0.weight"]})
    loaded = InitialModel.find(path, LIMIT).load(LAYOUT, LIMIT)
    assert list(loaded) == ["0.weight", "steps"]


def test_the_arrays_are_in_the_models_order(tmp_path: Path) -> None:
    path = write(tmp_path / "given", "start.npz", dict(reversed(START.items())))
    found = InitialModel.find(path, LIMIT)
    assert list(found.load(LAYOUT, LIMIT)) == ["0.weight", "steps"]
    assert found.sha256 == arrays.sha256(pack(START))


def save_with_numpy(path: Path) -> None:
    np.savez_compressed(path, **{"0.weight": np.asfortranarray(START["0.weight"]), "steps": START["steps"]})


def test_a_file_that_numpy_wrote_is_read_like_one_of_a_run(tmp_path: Path) -> None:
    path = tmp_path / "start.npz"
    save_with_numpy(path)
    assert InitialModel.find(path, LIMIT).sha256 == arrays.sha256(pack(START))


def write_objects(path: Path) -> None:
    np.savez(path, **{"0.weight": np.array([{}], object)})


def write_bomb(path: Path) -> None:
    np.savez_compressed(path, w=np.zeros(LIMIT, np.float32))


def write_halved(path: Path) -> None:
    save_with_numpy(path)
    path.write_bytes(path.read_bytes()[:-30])


@pytest.mark.parametrize(
    ("make", "expected"),
    [
        (lambda _: None, "No such file"),
        (Path.mkdir, "no model.npz"),
        (lambda path: path.write_bytes(b""), "truncated"),
        (lambda path: path.write_bytes(b"x" * 100), "not a .params file"),
        (write_objects, "not an npy file of numbers"),
        (write_bomb, f"at most {LIMIT} are accepted"),
        (write_halved, ""),
        (lambda path: path.symlink_to(path), "cannot be read"),
        (os.mkfifo, "not a file"),
    ],
)
def test_a_file_that_is_not_a_model_is_a_one_line_error_before_any_node_joins(
    tmp_path: Path, make: Any, expected: str
) -> None:
    path = tmp_path / "start.npz"
    make(path)
    settings = ServerSettings(initial_model=path, runs_dir=tmp_path / "runs", max_model_bytes=LIMIT)
    with pytest.raises(SettingsError) as caught:
        choose_run(settings)
    [line] = caught.value.problems
    assert line.startswith(f"INITIAL_MODEL={path}: ")
    assert expected in line
    assert ".params" in line


def test_a_name_that_is_too_long_is_a_one_line_error() -> None:
    with pytest.raises(SettingsError, match=r"^INITIAL_MODEL=x+: cannot be read: File name too long; "):
        InitialModel.find(Path("x" * 5000), LIMIT)


def test_a_file_that_changes_before_round_1_is_noticed(tmp_path: Path) -> None:
    path = write(tmp_path / "given", "start.npz")
    found = InitialModel.find(path, LIMIT)
    write(tmp_path / "given", "start.npz", {**START, "steps": np.array([8], np.int64)})
    with pytest.raises(SettingsError, match="has changed"):
        found.load(LAYOUT, LIMIT)


def make_settings(folder: Path, **given: Any) -> ServerSettings:
    settings = {"num_rounds": 2, "num_partitions": 1, "min_clients": 1, "lease_grace": 0.0}
    return ServerSettings(**{**settings, "runs_dir": folder / "runs", **given})


def interrupt(settings: ServerSettings, number: int) -> None:
    """Begin a run, and stop the server in the evaluation of a round."""

    def evaluate(_: Values, config: Config) -> Metrics:
        if config["server-round"] == number:
            raise StopSignal(15)
        return measure({}, {})

    with pytest.raises(StopSignal):
        federate(LocalGrid({1: make_node(evaluate=evaluate)}), settings, choose_run(settings))


def finish(settings: ServerSettings) -> tuple[dict[str, Any], Values]:
    federate(LocalGrid({1: make_node()}), settings, choose_run(settings))
    folder = settings.runs_dir / "latest"
    with np.load(folder / "model.npz", allow_pickle=False) as file:
        return json.loads((folder / "run.json").read_text()), dict(file)


@pytest.mark.parametrize("number", [1, 2])
def test_a_resumed_run_whose_initial_model_was_the_latest_does_not_start_from_itself(
    tmp_path: Path, number: int
) -> None:
    before, _ = finish(make_settings(tmp_path))
    settings = make_settings(tmp_path, initial_model=tmp_path / "runs" / "latest")
    interrupt(settings, number)
    facts, model = finish(settings)
    assert len(facts["resumed"]) == 1
    assert facts["initial_model"]["sha256"] == before["model_sha256"]
    assert model["0.weight"][0, 0] == 4, "two rounds after two rounds"


@pytest.mark.parametrize("resume", ["auto", "force"])
def test_a_run_is_not_resumed_with_another_initial_model(tmp_path: Path, resume: str) -> None:
    path = write(tmp_path / "given", "start.npz")
    interrupt(make_settings(tmp_path, initial_model=path), 2)
    other = write(tmp_path / "given", "other.npz", {**START, "steps": np.array([8], np.int64)})
    settings = make_settings(tmp_path, initial_model=other, resume=resume)
    if resume == "force":
        assert finish(settings)[1]["0.weight"][0, 0] == 7
        return
    for changed in (settings, make_settings(tmp_path)):
        with pytest.raises(SettingsError, match="INITIAL_MODEL"):
            choose_run(changed)
    # The same arrays elsewhere are the same model.
    moved = write(tmp_path / "moved", "start.params")
    assert finish(make_settings(tmp_path, initial_model=moved))[0]["rounds"] == 2


def test_a_run_killed_in_its_first_round_is_not_resumed_from_another_model(tmp_path: Path) -> None:
    interrupt(make_settings(tmp_path), 1)
    path = write(tmp_path / "given", "start.npz")
    facts, model = finish(make_settings(tmp_path, initial_model=path))
    assert facts["resumed"] == []
    assert model["0.weight"][0, 0] == 7


def test_a_newest_run_without_a_model_names_the_newest_finished_one(tmp_path: Path) -> None:
    federation = Federation(tmp_path)
    federation.run({"n0": NullNode()})
    finished = federation.folder.resolve()
    with pytest.raises(TooFewNodesError):
        federation.run({}, num_partitions=0, min_clients=1, client_wait_timeout=0.1)
    with pytest.raises(SettingsError, match=f"no model.npz; .*, such as {finished}$"):
        federation.run({"n0": NullNode()}, initial_model=federation.folder)
