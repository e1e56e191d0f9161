"""`check-task`: the costs of a round against hand-computed and measured ones, and mistakes in one line."""

import json
import mmap
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from client import peak_memory
from client.__main__ import main
from fedmx.errors import DataError, SettingsError
from tests.bounds import HANG_S
from tests.client.given.saved_runs import Workplace

ROOT = Path(__file__).parents[2]

# 12 x 4 + 4 numbers in the first layer, 4 x 1 + 1 in the second one.
PLAIN = """
import numpy as np
from client.mx import gluon, mx

def build_model():
    net = gluon.nn.HybridSequential()
    net.add(gluon.nn.Dense(4), gluon.nn.Dense(1))
    return net

def loss():
    return gluon.loss.L2Loss()

def load_data(data_dir):
    rows = np.random.default_rng(6).normal(size=(90, 12)).astype(np.float32)
    return (rows[:60], rows[:60, :1]), (rows[60:], rows[60:, :1])
"""
OWN_LOOPS = (
    PLAIN
    + """
SEEN = []

def train(net, data, context):
    SEEN.append((len(data), context.round, context.epochs, context.batch_size))
    for parameter in net.collect_params().values():
        parameter.set_data(parameter.data() + len(data))
    return {"size": len(data)}, len(data)

def evaluate(net, data, context):
    return {"first": net[0].bias.data().asnumpy()[0]}, len(data)
"""
)


def check(capsys: pytest.CaptureFixture[str], name: str) -> dict[str, Any]:
    main(["check-task", name, ".", "--json"])
    found: dict[str, Any] = json.loads(capsys.readouterr().out)
    return found


def test_sizes_follow_from_the_network(workplace: Workplace, capsys: pytest.CaptureFixture[str]) -> None:
    found = check(capsys, workplace.write_task("plain", PLAIN))
    numbers = 12 * 4 + 4 + 4 + 1
    assert (found["parameters"], found["frozen_parameters"], found["arrays"]) == (numbers, 0, 4)
    assert found["model_bytes"] == found["bytes_up"] == found["bytes_down"] == 4 * numbers
    assert found["bytes_down_in_round_1"] == 2 * 4 * numbers
    assert (found["train_examples"], found["test_examples"], found["timed_examples"]) == (60, 30, 30)
    assert found["train"].keys() == found["evaluate"].keys() == {"loss"}
    assert found["is_repeatable"]
    assert found["seconds_per_epoch"] > 0
    assert found["memory_bytes"] > 0
    assert found["base_bytes"] > 0


@pytest.mark.parametrize(
    ("build", "first"),
    [
        ("    net[0].initialize()\n    return net", 2 * 4 * 5),
        # Drawn from the run's seed, so the server sends them with the first message.
        ("    return net", 4 * 57 + 4 * 5),
    ],
)
def test_frozen_arrays_count_in_a_round_only_if_they_are_sent(
    workplace: Workplace, capsys: pytest.CaptureFixture[str], build: str, first: int
) -> None:
    plain = PLAIN.replace("Dense(4)", "Dense(4, in_units=12)").replace("    return net", build, 1)
    source = f'FROZEN = ["0.*"]\n{plain}'
    found = check(capsys, workplace.write_task(f"frozen_{first}", source))
    assert (found["parameters"], found["frozen_parameters"]) == (57, 52)
    assert (found["bytes_up"], found["bytes_down"], found["bytes_down_in_round_1"]) == (4 * 5, 4 * 5, first)


def test_the_table_has_the_bytes_of_round_1_beside_those_of_the_others(
    workplace: Workplace, capsys: pytest.CaptureFixture[str]
) -> None:
    main(["check-task", workplace.write_task("tabled", PLAIN), "."])
    line = "  bytes per round    228 bytes to a node (456 bytes in round 1), 228 bytes from it"
    assert line in capsys.readouterr().out.splitlines()


def test_own_loops_run_on_a_share_and_their_arrays_are_averaged(
    workplace: Workplace, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BATCH_SIZE", "7")
    found = check(capsys, workplace.write_task("own_loops", OWN_LOOPS))
    seen = sys.modules["own_loops"].SEEN
    assert set(seen) == {(30, 1, 1, 7)}
    # The bias starts at 0, and both nodes add 30.
    assert (found["train"], found["evaluate"]) == ({"size": 30.0}, {"first": 30.0})


def test_arrays_are_averaged_by_the_nodes_examples(
    workplace: Workplace, capsys: pytest.CaptureFixture[str]
) -> None:
    # The first example tells the nodes apart: the one that trains first has the weight 1, the other one 3.
    note = "    SEEN.append(data[0][0][0])\n    size = 1 if SEEN[-1] == SEEN[0] else 3\n    str("
    source = OWN_LOOPS.replace("    SEEN.append(", note)
    source = source.replace('return {"size": len(data)}, len(data)', 'return {"size": size}, size')
    source = source.replace("parameter.data() + len(data)", "parameter.data() + size")
    found = check(capsys, workplace.write_task("weighted", source))
    assert found["train"] == {"size": (1 * 1 + 3 * 3) / 4}
    assert found["evaluate"] == {"first": (1 * 1 + 3 * 3) / 4}


def test_training_with_the_systems_random_generator_is_reported_as_not_repeatable(
    workplace: Workplace, capsys: pytest.CaptureFixture[str]
) -> None:
    source = OWN_LOOPS.replace("+ len(data)", "+ SYSTEM.random()") + (
        "\nimport random\nSYSTEM = random.SystemRandom()\n"
    )
    assert not check(capsys, workplace.write_task("system_random", source))["is_repeatable"]
    main(["check-task", "system_random", "."])
    assert "repeatable         no" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("name", "source", "parts"),
    [
        (
            "raises",
            OWN_LOOPS.replace("    SEEN.append", "    oops\n    SEEN.append"),
            ("train()", "NameError", "raises.py"),
        ),
        ("idle", OWN_LOOPS.replace("+ len(data))", "* 1)"), ("changed no array",)),
        ("infinite", OWN_LOOPS.replace("+ len(data))", "/ 0 + 1 / mx.nd.zeros(1))"), ("is not finite",)),
        ("diverges", PLAIN.replace("normal(", "normal(scale=1e15, "), ("the loss of the averaged model is",)),
        ("no_dict", OWN_LOOPS.replace('return {"first"', "return 3 #"), ("evaluate() returned",)),
        ("unshaped", PLAIN.replace("Dense(1)", "Dense(1, in_units=5)"), ("TASK=unshaped", "the network")),
    ],
)
def test_a_mistake_is_one_line(workplace: Workplace, name: str, source: str, parts: tuple[str, ...]) -> None:
    assert source not in (PLAIN, OWN_LOOPS)
    workplace.write_task(name, source)
    with pytest.raises((SettingsError, DataError)) as caught:
        main(["check-task", name, "."])
    (line,) = str(caught.value).splitlines()
    assert [part for part in parts if part not in line] == [], line
    assert caught.value.exit_code == 2


def test_metrics_that_differ_between_nodes_are_named(workplace: Workplace) -> None:
    source = OWN_LOOPS.replace('{"first":', '{f"at-{data[0][0][0]}":')
    workplace.write_task("differing", source)
    with pytest.raises(SettingsError, match=r"missing at one of two nodes"):
        main(["check-task", "differing", "."])


@pytest.mark.parametrize("examples", [1, 2, 3])
def test_a_few_examples_are_enough(
    workplace: Workplace, capsys: pytest.CaptureFixture[str], examples: int
) -> None:
    source = PLAIN.replace("(90, 12)", f"({60 + examples}, 12)").replace("[:60", f"[:{examples}")
    found = check(capsys, workplace.write_task(f"few_{examples}", source))
    assert (found["train_examples"], found["test_examples"]) == (examples, examples)


def test_the_peak_counts_what_was_freed_again() -> None:
    peak_memory.reset()
    before = peak_memory.read()
    # Not numpy, whose arrays may take memory that this process has freed before.
    with mmap.mmap(-1, 40_000_000) as block:
        block.write(b"1" * 40_000_000)
    assert peak_memory.read_peak() - before > 30_000_000
    peak_memory.reset()
    assert peak_memory.read_peak() - before < 30_000_000


def check_in_own_process(workplace: Workplace, name: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-m", "client", "check-task", name, ".", "--json"],
        cwd=workplace.folder,
        env={"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
        timeout=HANG_S,
    )


@pytest.mark.slow
def test_the_memory_of_the_data_is_counted(workplace: Workplace) -> None:
    # Wide rows, since each batch takes time.
    source = PLAIN.replace("(90, 12)", "(50030, 120)").replace("[:60", "[:-30").replace("[60:", "[-30:")
    tasks = workplace.write_task("small_data", PLAIN), workplace.write_task("large_data", source)
    small, large = (json.loads(check_in_own_process(workplace, task).stdout) for task in tasks)
    # 50,000 x 120 numbers of float32, in numpy and on the device.
    assert large["train_examples"] == 50_000
    assert large["memory_bytes"] - small["memory_bytes"] > 2 * 24_000_000


def test_the_program_reports_a_mistake_in_one_line_and_exits_with_2(workplace: Workplace) -> None:
    name = workplace.write_task("idle", OWN_LOOPS.replace("+ len(data))", "* 1)"))
    done = check_in_own_process(workplace, name)
    assert (done.returncode, done.stdout) == (2, "")
    assert len(done.stderr.splitlines()) == 1, done.stderr
