"""Runs a script, or its task in a federation of two clients, and evaluates both with the script's code."""

import math
import random
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np

from client.mx import mx
from examples.kinds import KINDS
from fedmx.settings import environment

ROOT = Path(__file__).resolve().parents[1]
Numbers = dict[str, float]

_SETTINGS = {
    "CLIENTS": 2,
    "PARTITION": "iid",
    "LINK_SECURITY": "insecure",
    "LISTEN_ADDRESS": "127.0.0.1:0",
    "RESUME": "never",
}


def prepare(name: str) -> None:
    """Write the weights file that a kind starts from, unless it exists."""
    if name == "fine_tuning" and not import_module("examples.fine_tuning.data").WEIGHTS.exists():
        import_module("examples.fine_tuning.pretrain").pretrain()


def run_plain(name: str, seed: int) -> Numbers:
    """Run a script, and return what its `evaluate` returns."""
    _seed(seed)
    return _to_floats(import_module(f"examples.{name}.plain").main(seed))


def run_federated(
    name: str, seed: int, changes: Mapping[str, str | float] | None = None, timeout_s: float | None = None
) -> tuple[Numbers, Any]:
    """Run a task with two clients and evaluate the final model on the whole test set.

    Args:
        name: name of the kind.
        seed: seed of the run.
        changes: settings that replace the kind's.
        timeout_s: seconds after which the run fails; None: no limit.

    Returns:
        What the script's `evaluate` returns, and the network of the script with the final model.

    Raises:
        RuntimeError: the run failed; the message has its log.
    """
    own = {"TASK": f"examples.{name}.task", "SEED": seed}
    with tempfile.TemporaryDirectory(prefix="fedmx-example-") as folder:
        settings = {**_SETTINGS, **KINDS[name].settings, **(changes or {}), **own, "RUNS_DIR": folder}
        done = subprocess.run(
            [sys.executable, "-m", "local"],
            cwd=ROOT,
            env=environment() | {key: str(value) for key, value in settings.items()},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=timeout_s,
            check=False,
        )
        if done.returncode:
            raise RuntimeError(f"{name}: exit code {done.returncode}\n{done.stdout}")
        net = import_module(f"examples.{name}.plain").build_model()
        net.load_parameters(str(Path(folder) / "latest" / "model.params"))
    return evaluate(name, net, seed), net


def evaluate(name: str, net: Any, seed: int) -> Numbers:
    """Evaluate a network on the whole test set with the script's code."""
    _seed(seed)
    plain = import_module(f"examples.{name}.plain")
    _, test = plain.load_data()
    return _to_floats(plain.evaluate(net, test))


def are_bounded(numbers: Numbers, bound: float = 5.0) -> bool:
    """Whether no loss of a GAN has run away."""
    return all(math.isfinite(number) and 0 < number < bound for number in numbers.values())


def _seed(seed: int) -> None:
    mx.random.seed(seed)
    np.random.seed(seed)  # noqa: NPY002 - the scripts draw from it
    random.seed(seed)


def _to_floats(numbers: Mapping[str, Any]) -> Numbers:
    return {name: float(number) for name, number in numbers.items()}
