"""A network's arrays are set from a run, or the difference is named."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from client import model
from client.loading import load_into
from client.mx import gluon, mx
from client.saved_run import find_run
from fedmx import run_state
from fedmx.errors import DataError
from tests.bounds import HANG_S
from tests.client.given.saved_runs import Workplace, initialize
from tests.pages import find_code

ROOT = Path(__file__).parents[2]
X = mx.nd.array(np.arange(12, dtype=np.float32).reshape(2, 6) / 7)


def make_mlp(units: int = 4, layers: int = 2) -> gluon.HybridBlock:
    net = gluon.nn.HybridSequential()
    net.add(*(gluon.nn.Dense(units) for _ in range(layers)))
    return net


@pytest.mark.parametrize("state", ["uninitialized", "initialized", "run before", "hybridized"])
def test_a_loaded_network_computes_the_same_outputs_as_the_trained_one(
    workplace: Workplace, state: str
) -> None:
    trained = initialize(make_mlp(), (1, 6))
    workplace.save_run("any", trained)
    net = make_mlp()
    if state != "uninitialized":
        net.initialize()
    if state == "hybridized":
        net.hybridize(static_alloc=True, static_shape=True)
    if state in ("run before", "hybridized"):
        net(X)
    load_into(net, "latest")
    assert (net(X).asnumpy() == trained(X).asnumpy()).all()


def test_convolutions_and_running_statistics_are_set(workplace: Workplace) -> None:
    def make() -> gluon.HybridBlock:
        net = gluon.nn.HybridSequential()
        net.add(gluon.nn.Conv2D(4, 3), gluon.nn.BatchNorm(), gluon.nn.Conv2D(16, 3), gluon.nn.Dense(2))
        return net

    shape = (2, 1, 8, 8)
    trained = initialize(make(), shape)
    images = mx.nd.random.uniform(shape=shape)
    workplace.save_run("any", trained)
    net = make()
    net.initialize()
    net.hybridize()
    net(images)
    load_into(net, workplace.runs_dir / "a-run")
    assert (net(images).asnumpy() == trained(images).asnumpy()).all()


@pytest.mark.parametrize(
    ("net", "parts"),
    [
        (make_mlp(layers=1), ("arrays unknown: 1.bias, 1.weight",)),
        (make_mlp(layers=3), ("arrays missing: 2.bias, 2.weight",)),
        (make_mlp(units=5), ("'0.weight'", "float32 (4, 6)", "(5, 0)")),
    ],
)
def test_another_network_is_refused_and_stays_as_it_is(
    workplace: Workplace, net: gluon.HybridBlock, parts: tuple[str, ...]
) -> None:
    folder = workplace.save_run("my_task", initialize(make_mlp(), (1, 6)))
    with pytest.raises(DataError) as caught:
        load_into(net, folder)
    missing = [part for part in (*parts, "model.npz", "my_task") if part not in str(caught.value)]
    assert missing == [], caught.value
    assert all(parameter._data is None for parameter in net.collect_params().values())


def test_another_dtype_is_refused(workplace: Workplace) -> None:
    folder = workplace.save_run("any", initialize(make_mlp(), (1, 6)))
    net = make_mlp()
    net.cast("float16")
    with pytest.raises(DataError, match=r"'0\.weight' is float32 .* expected float16"):
        load_into(net, folder)


def test_a_parameter_without_a_dtype_is_of_mxnet_s_default_dtype(workplace: Workplace) -> None:
    def make() -> gluon.Block:
        net = gluon.Block()
        net.weight = net.params.get("weight", shape=(2, 3), dtype=None)
        return net

    trained = make()
    trained.initialize()
    assert [json.loads(line)[1] for line in model.describe(model.name_parameters(trained))] == ["float32"]
    workplace.save_run("any", trained)
    net = make()
    load_into(net, "latest")
    assert (net.weight.data().asnumpy() == trained.weight.data().asnumpy()).all()


def test_a_run_is_found_by_its_folder_and_by_its_name(workplace: Workplace) -> None:
    first = workplace.save_run("any", initialize(make_mlp(), (1, 6)), "first")
    second = workplace.save_run("any", initialize(make_mlp(), (1, 6)), "second")
    assert find_run("first").folder == find_run(first).folder == find_run("runs/first").folder == first
    assert find_run("latest").folder == second
    with pytest.raises(DataError, match=r"third: not a run; .*second"):
        find_run("third")


def test_a_run_is_found_by_its_run_name_and_by_the_beginning_of_its_id(workplace: Workplace) -> None:
    net = initialize(make_mlp(), (1, 6))
    folders = [workplace.save_run("any", net, run_id) for run_id in ("2026-a", "2026-b", "x")]
    for folder, name in zip(folders, ("wide", "deep", "deep"), strict=True):
        facts = json.loads((folder / "run.json").read_text())
        facts["settings"]["RUN_NAME"] = name
        (folder / "run.json").write_text(json.dumps(facts))
    assert find_run("wide").folder == find_run("2026-a").folder == folders[0]
    assert find_run("2026-b").folder == folders[1]
    for given, listed in {"deep": "x, 2026-b", "2026": "2026-b, 2026-a"}.items():
        with pytest.raises(DataError, match=f"{given}: matches 2 runs; .*{listed}"):
            find_run(given)
    with pytest.raises(DataError, match=r"not a run"):
        find_run("")


def test_an_unfinished_run_is_named_with_its_status_even_if_it_has_written_its_model(
    workplace: Workplace,
) -> None:
    folder = workplace.save_run("any", initialize(make_mlp(), (1, 6)))
    facts = json.loads((folder / "run.json").read_text())
    (folder / "run.json").write_text(json.dumps({**facts, "status": "interrupted"}))
    with pytest.raises(DataError, match=r"model\.npz: the run is interrupted"):
        load_into(make_mlp(), folder)


@pytest.mark.parametrize("is_begun", [True, False])
@pytest.mark.parametrize(
    ("status", "is_alive", "parts"),
    [
        ("failed", False, ("failed", "ended before")),
        ("running", True, ("the run is running", "has not begun")),
        ("running", False, ("the run is interrupted", "ended before")),
    ],
)
def test_if_the_newest_run_has_no_model_the_newest_finished_one_is_named(
    workplace: Workplace, status: str, is_alive: bool, parts: tuple[str, str], is_begun: bool
) -> None:
    net = initialize(make_mlp(), (1, 6))
    for name in ("20260101-000000-0001", "20260102-000000-0001", "20260103-000000-0001"):
        folder = workplace.save_run("any", net, name)
    facts = json.loads((folder / "run.json").read_text())
    changed = {"status": status} if is_begun else {"status": status, "description": None}
    (folder / "run.json").write_text(json.dumps(facts | changed))
    with run_state.open_lock(folder.parent) as lock:
        if not is_alive:
            lock.close()
        with pytest.raises(DataError, match=r"such as 20260102-000000-0001") as caught:
            load_into(make_mlp(), "latest")
    assert parts[0 if is_begun else 1] in str(caught.value)


@pytest.mark.parametrize(
    ("damage", "part"),
    [("truncated", "model.npz: cannot be read"), ("of another run", "SHA-256"), ("no record", "run.json: ")],
)
def test_a_damaged_run_is_rejected_with_the_file(workplace: Workplace, damage: str, part: str) -> None:
    folder = workplace.save_run("any", initialize(make_mlp(), (1, 6)))
    path = folder / "model.npz"
    if damage == "truncated":
        path.write_bytes(path.read_bytes()[:-30])
    elif damage == "of another run":
        net = initialize(make_mlp(), (1, 6))
        net[0].bias.set_data(mx.nd.zeros(4))
        other = workplace.save_run("any", net, "other")
        shutil.copy(other / "model.npz", path)
    else:
        (folder / "run.json").write_text('{"description": []}')
    with pytest.raises(DataError) as caught:
        load_into(make_mlp(), folder)
    assert part in str(caught.value)


def test_the_documented_script_needs_no_settings(workplace: Workplace) -> None:
    net = gluon.nn.HybridSequential()
    net.add(gluon.nn.Dense(256), gluon.nn.Dense(64), gluon.nn.Dense(10))
    workplace.save_run("a_task_that_is_gone", initialize(net, (1, 784)))
    (workplace.folder / "use_model.py").write_text(find_code("# use_model.py"))
    done = subprocess.run(
        [sys.executable, "use_model.py"],
        cwd=workplace.folder,
        env={"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=True,
        timeout=HANG_S,
    )
    assert done.stdout == "(5, 10)\n"


def test_a_network_with_sparse_weights_is_refused_and_one_with_sparse_gradients_is_not(
    workplace: Workplace,
) -> None:
    dense = gluon.nn.Embedding(5, 2, sparse_grad=True)
    ids = mx.nd.array([4, 0])
    workplace.save_run("any", initialize(dense, (1,)))
    with pytest.raises(DataError, match=r"are sparse; expected .*sparse_grad=True"):
        load_into(gluon.contrib.nn.SparseEmbedding(5, 2), "latest")
    net = gluon.nn.Embedding(5, 2, sparse_grad=True)
    load_into(net, "latest")
    assert (net(ids).asnumpy() == dense(ids).asnumpy()).all()
