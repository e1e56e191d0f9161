"""MNIST over real processes: accuracy, the arrays that travel, and the same model every time."""

import subprocess
import sys
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

ROOT = Path(__file__).parents[2]
DATA_DIR = Path("data/mnist")

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


@pytest.fixture(scope="module")
def default_run(shared_federation: Federation) -> Federation:
    assert shared_federation.run(client_settings={"TASK": "watched_mnist"}) == 0, shared_federation.logs
    return shared_federation


def test_three_rounds_reach_97_percent_and_every_program_exits_0(default_run: Federation) -> None:
    assert [line["round"] for line in default_run.history] == [1, 2, 3]
    assert default_run.history[-1]["evaluate"]["metrics"]["accuracy"] >= 0.97
    assert default_run.history[-1]["evaluate"]["num_examples"] == 10_000
    assert [program.process.returncode for program in default_run.programs] == [0, 0, 0]
    assert "Traceback" not in default_run.logs


def test_the_nodes_networks_have_the_same_outputs_as_the_servers_arrays(default_run: Federation) -> None:
    _, test = mnist.load_data(DATA_DIR)
    outputs = compute_outputs(read_model(default_run), test.examples)
    evaluated = default_run.history[-1]["evaluate"]["metrics"]
    for digit in range(10):
        assert evaluated[f"output-{digit}"] == pytest.approx(outputs[:, digit].mean(), abs=1e-4)
    # A float32 sum and a float64 one may disagree on an example with two nearly equal largest outputs.
    hits = (outputs.argmax(axis=1) == test.labels).mean()
    assert evaluated["accuracy"] == pytest.approx(hits, abs=2e-4)


def test_the_digest_in_run_json_is_of_the_arrays_in_the_model_file(default_run: Federation) -> None:
    assert default_run.facts["status"] == "finished"
    assert default_run.facts["model_sha256"] == arrays.sha256(read_model(default_run))


def test_the_default_runs_model_is_the_one_that_was_seen_on_other_cpus(default_run: Federation) -> None:
    assert default_run.facts["model_sha256"] in SEEN["avx2"], f"another model on this CPU:\n{describe_cpu()}"


def test_cpu_isa_changes_the_last_bits_of_the_model_and_not_its_accuracy(
    default_run: Federation, federation: Federation
) -> None:
    assert federation.run(client_settings={"CPU_ISA": "sse41"}) == 0, federation.logs
    assert federation.facts["model_sha256"] in SEEN["sse41"], f"another model on this CPU:\n{describe_cpu()}"
    accuracies = [run.history[-1]["evaluate"]["metrics"]["accuracy"] for run in (default_run, federation)]
    assert accuracies[0] == pytest.approx(accuracies[1], abs=3e-3)


def test_the_readmes_program_loads_the_model_into_plain_mxnet_and_prints_the_runs_accuracy(
    default_run: Federation, tmp_path: Path
) -> None:
    (tmp_path / "predict.py").write_text(find_code("# predict.py"))
    for name, target in (("runs", default_run.runs_dir), ("data", ROOT / "data")):
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
    expected = default_run.history[-1]["evaluate"]["metrics"]["accuracy"]
    assert float(accuracy) == pytest.approx(expected, abs=2e-4)


def test_every_node_has_its_own_half_of_the_examples(default_run: Federation) -> None:
    nodes = default_run.history[0]["nodes"]
    assert [node["partition"] for node in nodes] == [0, 1]
    assert [node["examples"] for node in nodes] == [30_000, 30_000]
    assert nodes[0]["metrics"]["accuracy"] != nodes[1]["metrics"]["accuracy"]


def test_the_order_in_which_clients_start_does_not_change_the_model(
    default_run: Federation, federation: Federation
) -> None:
    second = federation.start_client(NODE_NAME="zebra")
    server = federation.start_server(NUM_PARTITIONS=2)
    second.wait_for("joined")
    first = federation.start_client(NODE_NAME="aardvark")
    assert [program.wait(2 * HANG_S) for program in (server, first, second)] == [0, 0, 0], federation.logs
    assert federation.facts["model_sha256"] == default_run.facts["model_sha256"]


def test_two_nodes_with_five_digits_each_learn_all_ten(federation: Federation) -> None:
    assert federation.run(PARTITION="labels:5", NUM_ROUNDS=5) == 0, federation.logs
    accuracies = [line["evaluate"]["metrics"]["accuracy"] for line in federation.history]
    assert max(accuracies) >= 0.85, (
        accuracies
    )  # alone, a node cannot reach more than 0.52: it never saw the others


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
