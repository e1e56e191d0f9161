"""MNIST over real processes: accuracy, the arrays that travel, and the same model every time."""

import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from flwr.app import Array, ArrayRecord
from numpy.typing import NDArray

from client.tasks import mnist
from fedmx import arrays
from tests.bounds import HANG_S
from tests.federation.programs import Federation
from tests.pages import find_code
from tests.ports import find_free_port
from tests.small_mnist import write_small_mnist

ROOT = Path(__file__).parents[2]

# The default run's model_sha256 by CPU_ISA, and the CPUs on which it was seen.
SEEN: dict[str, dict[str, tuple[str, ...]]] = {
    "avx2": {
        "5482d70e0af9f2e6dfb07bb42dbbc35f2c7cf5d57ad9491d2a83fcaf7fab8296": (
            "AMD EPYC with AVX2",
            "AMD EPYC of family 25, model 17 (Zen 4), which has AVX-512",
        ),
    },
    "native": {
        "56f0c805438932c10f6b901e25fd238f6a57aa3037f7f495730043da7058ee32": (
            "AMD EPYC of family 25, model 17 (Zen 4), which has AVX-512",
        ),
    },
    "sse41": {
        "fed1d101f0b7064f1bb89ed2a7db56f9c3c85fdade2bb0665c5bb2c2d2ce91c2": (
            "AMD EPYC of family 25, model 17 (Zen 4), which has AVX-512",
        ),
    },
}


def describe_cpu() -> str:
    """Return what may choose other kernels: the CPU's model, family, flags and cache sizes."""
    first = Path("/proc/cpuinfo").read_text().split("\n\n")[0]
    fields = {
        name.strip(): value.strip() for name, _, value in (line.partition(":") for line in first.splitlines())
    }
    caches = sorted(Path("/sys/devices/system/cpu/cpu0/cache").glob("index*/size"))
    names = ("model name", "cpu family", "model", "stepping", "cache size", "flags")
    lines = [f"{name}: {fields.get(name)}" for name in names]
    return "\n".join([*lines, *(f"{path.parent.name}: {path.read_text().strip()}" for path in caches)])


ACCURACY = {"small": 0.8, "whole": 0.97}
"""What three rounds reach with the first 2,000 digits, and with all."""

TEST_SIZE = {"small": 500, "whole": 10_000}

# Minutes of training where other work shares the cores.
pytestmark = pytest.mark.timeout(1300)


def read_model(federation: Federation) -> ArrayRecord:
    with np.load(federation.runs_dir / "latest" / "model.npz", allow_pickle=False) as file:
        return ArrayRecord({name: Array(file[name]) for name in file.files})


def compute_outputs(model: ArrayRecord, images: NDArray[np.float32]) -> NDArray[np.float64]:
    """Compute the network by hand: three dense layers, two of them rectified."""
    values = images.reshape(len(images), -1).astype(np.float64)
    for layer in range(3):
        values = (
            values @ model[f"{layer}.weight"].numpy().T.astype(np.float64) + model[f"{layer}.bias"].numpy()
        )
        if layer < 2:
            values = np.maximum(values, 0)
    return values


@dataclass(frozen=True)
class DefaultRun:
    """A finished run with the default settings.

    Attributes:
        size: of its dataset.
        data_dir: folder of its dataset.
        federation: its programs and files.
    """

    size: str
    data_dir: Path
    federation: Federation


@pytest.fixture(scope="module", params=["small", pytest.param("whole", marks=pytest.mark.slow)])
def default_run(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> DefaultRun:
    """The default run, with a part of MNIST and with all of it."""
    folder = tmp_path_factory.mktemp(request.param)
    data_dir = folder / "data" / "mnist"
    if request.param == "small":
        write_small_mnist(data_dir)
    else:
        data_dir.parent.mkdir()
        data_dir.symlink_to(ROOT / "data" / "mnist")
    made = Federation(folder, find_free_port())
    code = made.run(client_settings={"TASK": "watched_mnist", "DATA_DIR": data_dir})
    assert code == 0, made.logs
    return DefaultRun(request.param, data_dir, made)


def test_three_rounds_learn_the_digits_and_every_program_exits_0(default_run: DefaultRun) -> None:
    run = default_run.federation
    assert [line["round"] for line in run.history] == [1, 2, 3]
    assert run.history[-1]["evaluate"]["metrics"]["accuracy"] >= ACCURACY[default_run.size]
    assert run.history[-1]["evaluate"]["num_examples"] == TEST_SIZE[default_run.size]
    assert [program.process.returncode for program in run.programs] == [0, 0, 0]
    assert "Traceback" not in run.logs


def test_the_nodes_networks_have_the_same_outputs_as_the_servers_arrays(default_run: DefaultRun) -> None:
    _, test = mnist.load_data(default_run.data_dir)
    outputs = compute_outputs(read_model(default_run.federation), test.examples)
    evaluated = default_run.federation.history[-1]["evaluate"]["metrics"]
    for digit in range(10):
        assert evaluated[f"output-{digit}"] == pytest.approx(outputs[:, digit].mean(), abs=1e-4)
    # A float32 sum and a float64 one may disagree on an example with two nearly equal largest outputs.
    hits = (outputs.argmax(axis=1) == test.labels).mean()
    assert evaluated["accuracy"] == pytest.approx(hits, abs=2e-4)


def test_the_digest_in_run_json_is_of_the_arrays_in_the_model_file(default_run: DefaultRun) -> None:
    run = default_run.federation
    assert run.facts["status"] == "finished"
    assert run.facts["model_sha256"] == arrays.sha256(read_model(run))


def test_the_readmes_program_loads_the_model_into_plain_mxnet_and_prints_the_runs_accuracy(
    default_run: DefaultRun, tmp_path: Path
) -> None:
    run = default_run.federation
    (tmp_path / "predict.py").write_text(find_code("# predict.py"))
    for name, target in (("runs", run.runs_dir), ("data", default_run.data_dir.parent)):
        (tmp_path / name).symlink_to(target.resolve())
    done = subprocess.run(
        [sys.executable, "predict.py"],
        cwd=tmp_path,
        env={"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    name, accuracy = done.stdout.split()
    assert name == "accuracy"
    expected = run.history[-1]["evaluate"]["metrics"]["accuracy"]
    assert float(accuracy) == pytest.approx(expected, abs=2e-4)


def test_every_node_has_its_own_half_of_the_examples(default_run: DefaultRun) -> None:
    nodes = default_run.federation.history[0]["nodes"]
    half = len(mnist.load_data(default_run.data_dir)[0].labels) // 2
    assert [node["partition"] for node in nodes] == [0, 1]
    assert [node["examples"] for node in nodes] == [half, half]
    assert nodes[0]["metrics"]["accuracy"] != nodes[1]["metrics"]["accuracy"]


def test_the_order_in_which_clients_start_does_not_change_the_model(
    default_run: DefaultRun, federation: Federation
) -> None:
    second = federation.start_client(NODE_NAME="zebra", DATA_DIR=default_run.data_dir)
    server = federation.start_server(NUM_PARTITIONS=2)
    second.wait_for("joined")
    first = federation.start_client(NODE_NAME="aardvark", DATA_DIR=default_run.data_dir)
    assert [program.wait(2 * HANG_S) for program in (server, first, second)] == [0, 0, 0], federation.logs
    assert federation.facts["model_sha256"] == default_run.federation.facts["model_sha256"]


WHOLE = pytest.mark.parametrize("default_run", [pytest.param("whole", marks=pytest.mark.slow)], indirect=True)


@WHOLE
def test_the_default_runs_model_is_the_one_that_was_seen_on_other_cpus(default_run: DefaultRun) -> None:
    digest = default_run.federation.facts["model_sha256"]
    assert digest in SEEN["avx2"], f"another model on this CPU:\n{describe_cpu()}"


@WHOLE
def test_cpu_isa_changes_the_last_bits_of_the_model_and_not_its_accuracy(
    default_run: DefaultRun, federation: Federation
) -> None:
    assert federation.run(client_settings={"CPU_ISA": "sse41"}) == 0, federation.logs
    assert federation.facts["model_sha256"] in SEEN["sse41"], f"another model on this CPU:\n{describe_cpu()}"
    runs = (default_run.federation, federation)
    accuracies = [run.history[-1]["evaluate"]["metrics"]["accuracy"] for run in runs]
    assert accuracies[0] == pytest.approx(accuracies[1], abs=3e-3)


@pytest.mark.slow
def test_two_nodes_with_five_digits_each_learn_all_ten(federation: Federation) -> None:
    assert federation.run(PARTITION="labels:5", NUM_ROUNDS=5) == 0, federation.logs
    accuracies = [line["evaluate"]["metrics"]["accuracy"] for line in federation.history]
    assert max(accuracies) >= 0.85, (
        accuracies
    )  # alone, a node cannot reach more than 0.52: it never saw the others


@pytest.mark.slow
def test_a_convolutional_network_trains_over_several_rounds(federation: Federation) -> None:
    quick = {"NUM_ROUNDS": 2, "LOCAL_EPOCHS": 1, "BATCH_SIZE": 200}
    code = federation.run(client_settings={"TASK": "client.tasks.cnn"}, **quick)
    assert code == 0, federation.logs
    accuracies = [line["evaluate"]["metrics"]["accuracy"] for line in federation.history]
    assert len(accuracies) == 2
    assert accuracies[-1] >= 0.95


@pytest.mark.slow
def test_three_rounds_of_the_convolutional_task_reach_98_percent_and_repeat_bit_by_bit(
    federation: Federation,
) -> None:
    digests = []
    for _ in range(2):
        code = federation.run(client_settings={"TASK": "client.tasks.cnn"})
        assert code == 0, federation.logs
        assert federation.history[-1]["evaluate"]["metrics"]["accuracy"] >= 0.98
        digests.append(federation.facts["model_sha256"])
    assert digests[0] == digests[1]
