"""The model of a real run, exported and measured again: the same accuracy on the test set."""

import json
import subprocess
import sys
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest

from client.data import Dataset
from client.loading import load_into
from client.mx import gluon, mx
from client.tasks import cnn
from client.tasks.mnist import load_data
from tests.bounds import HANG_S
from tests.federation.programs import ROOT, Federation, make_environment
from tests.small_mnist import write_small_mnist

pytestmark = pytest.mark.timeout(1300)

BATCH = 500


def find_data(run: Federation) -> Path:
    """Return the folder of a run's dataset."""
    return run.folder / "mnist"


def load_test_set(run: Federation) -> Dataset:
    return load_data(find_data(run))[1]


@pytest.fixture(scope="module")
def run(shared_federation: Federation) -> Federation:
    """A run of the convolutional network, whose batch normalization has running statistics."""
    write_small_mnist(find_data(shared_federation))
    settings = {"NUM_ROUNDS": 1, "LOCAL_EPOCHS": 1, "SEED": 3}
    code = shared_federation.run(
        client_settings={"TASK": "client.tasks.cnn", "DATA_DIR": find_data(shared_federation)}, **settings
    )
    assert code == 0, shared_federation.logs
    return shared_federation


def call(run: Federation, *arguments: str) -> str:
    """Run a command of the client, and return its output."""
    environment = make_environment({"RUNS_DIR": run.runs_dir, "DATA_DIR": find_data(run)})
    environment["PYTHONPATH"] += f":{ROOT}"
    done = subprocess.run(
        [sys.executable, "-m", "client", *arguments],
        cwd=run.folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=HANG_S,
        check=True,
    )
    return done.stdout


def find_accuracy(run: Federation) -> float:
    accuracy: float = run.history[-1]["evaluate"]["metrics"]["accuracy"]
    return accuracy


def measure_accuracy(run: Federation, compute: Any) -> float:
    """Return the accuracy of a function of images on the test set."""
    test = load_test_set(run)
    outputs = [compute(test.examples[start : start + BATCH]) for start in range(0, len(test), BATCH)]
    return float((np.concatenate(outputs).argmax(axis=1) == test.labels).mean())


def test_the_command_measures_what_the_nodes_did(run: Federation) -> None:
    found = json.loads(call(run, "evaluate", "latest", str(find_data(run)), "--json"))
    labels = load_test_set(run).labels
    expected = run.history[-1]["evaluate"]
    assert found["num_examples"] == expected["num_examples"] == len(labels)
    assert found["metrics"]["accuracy"] == pytest.approx(expected["metrics"]["accuracy"], abs=1e-12)
    assert found["metrics"]["loss"] == pytest.approx(expected["metrics"]["loss"], rel=1e-5)
    counts = np.array(found["confusion"])
    assert np.trace(counts) / counts.sum() == pytest.approx(find_accuracy(run), abs=1e-12)
    assert counts.sum(axis=1).tolist() == np.bincount(labels).tolist()
    # Other batches may move a score to the next bin.
    for name in ("f1", "auc"):
        assert found["metrics"][name] == pytest.approx(expected["metrics"][name], abs=1e-5)
    assert found["confusion"] == expected["confusion"]


def test_onnx_has_the_accuracy_of_the_run(run: Federation) -> None:
    call(run, "export", "latest", "--format", "onnx", "--output", "model.onnx")
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(run.folder / "model.onnx", options)
    (data,) = session.get_inputs()
    assert measure_accuracy(run, lambda images: session.run(None, {data.name: images})[0]) == pytest.approx(
        find_accuracy(run), abs=1e-12
    )
    net = cnn.build_model()
    load_into(net, run.runs_dir / "latest")
    images = load_test_set(run).examples[:BATCH]
    difference = abs(session.run(None, {data.name: images})[0] - net(mx.nd.array(images)).asnumpy())
    assert difference.max() <= 1e-5


def test_mxnet_s_own_files_have_the_accuracy_of_the_run(run: Federation) -> None:
    call(run, "export", "latest", "--format", "mxnet", "--output", "model")
    with warnings.catch_warnings():
        # MXNet cannot know the inputs' dtypes from the file.
        warnings.simplefilter("ignore")
        net = gluon.SymbolBlock.imports(
            str(run.folder / "model-symbol.json"), ["data"], str(run.folder / "model-0000.params")
        )
    found = measure_accuracy(run, lambda images: net(mx.nd.array(images)).asnumpy())
    assert found == pytest.approx(find_accuracy(run), abs=1e-12)


def test_params_have_the_accuracy_of_the_run(run: Federation) -> None:
    call(run, "export", "latest", "--format", "params", "--output", "model.params")
    net = cnn.build_model()
    net.load_parameters(str(run.folder / "model.params"))
    found = measure_accuracy(run, lambda images: net(mx.nd.array(images)).asnumpy())
    assert found == pytest.approx(find_accuracy(run), abs=1e-12)


def test_the_best_model_is_that_of_the_best_round(run: Federation) -> None:
    call(run, "export", "latest", "--format", "npz", "--best", "--output", "best.npz")
    # Of one round, the best one is the last one.
    with np.load(run.folder / "best.npz") as best, np.load(run.runs_dir / "latest" / "model.npz") as final:
        assert all((best[name] == final[name]).all() for name in final.files)


def test_predictions_of_test_images_are_those_that_the_evaluation_counts(run: Federation) -> None:
    images = next(path for path in sorted(find_data(run).iterdir()) if path.name.startswith("t10k-images"))
    lines = [json.loads(line) for line in call(run, "predict", "latest", str(images), "--json").splitlines()]
    classes = np.array([int(line["class"]) for line in lines])
    labels = load_test_set(run).labels
    assert len(classes) == len(labels)
    assert (classes == labels).mean() == pytest.approx(find_accuracy(run), abs=1e-12)


def test_the_bytes_that_a_check_predicts_are_those_that_travelled(run: Federation) -> None:
    found = json.loads(call(run, "check-task", "client.tasks.cnn", str(find_data(run)), "--json"))
    for node in run.history[-1]["nodes"]:
        # A message has names and numbers beside its arrays, and an evaluation has counts of ten classes.
        assert found["bytes_up"] < node["bytes_up"] < found["bytes_up"] + 10_000
        sent = found["bytes_down_in_round_1"]
        assert sent < node["bytes_down"] < sent + 4_000
    arrays: dict[str, Any] = {}
    with np.load(run.runs_dir / "latest" / "model.npz") as final:
        arrays = {name: final[name] for name in final.files}
    assert found["model_bytes"] == sum(array.nbytes for array in arrays.values())


def test_a_program_that_fails_prints_one_line(run: Federation, tmp_path: Path) -> None:
    with pytest.raises(subprocess.CalledProcessError) as caught:
        call(run, "predict", "latest", str(tmp_path / "missing.png"))
    assert (caught.value.returncode, caught.value.stdout) == (2, "")
    assert len(caught.value.stderr.splitlines()) == 1
