"""Runs on disk as the server writes them, with the arrays of a network that a test has built."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from client import model
from client.mx import gluon, mx
from fedmx.schema import Schema
from fedmx.settings import ServerSettings
from server.leases import Membership
from server.record.run import RunRecord

# A network that sees channels, so that a wrong layout changes its outputs.
IMAGES = """
import numpy as np
from client.mx import gluon

def build_model():
    net = gluon.nn.HybridSequential()
    net.add(gluon.nn.Conv2D(4, 3), gluon.nn.BatchNorm(), gluon.nn.Activation("relu"), gluon.nn.Dropout(0.5),
            gluon.nn.Dense(3))
    return net

def load_data(data_dir):
    random = np.random.default_rng(1)
    images = random.random((40, 1, 6, 5)).astype(np.float32)
    labels = (images.mean(axis=(1, 2, 3)) * 1000).astype(np.int64) % 3
    return (images[:30], labels[:30]), (images[30:], labels[30:])
"""


@dataclass
class Workplace:
    """A folder with tasks that can be imported, and with runs.

    Attributes:
        folder: both are below it.
    """

    folder: Path

    @property
    def runs_dir(self) -> Path:
        """RUNS_DIR."""
        return self.folder / "runs"

    def write_task(self, name: str, source: str) -> str:
        """Write a task, and return the name of its module."""
        (self.folder / f"{name}.py").write_text(source)
        return name

    def save_run(
        self,
        task: str,
        net: gluon.Block,
        run_id: str = "a-run",
        options: Mapping[str, Any] | None = None,
        schema: Schema | None = None,
    ) -> Path:
        """Save a finished run with a network's arrays, and return its folder."""
        parameters = model.name_parameters(net)
        record = RunRecord.begin(
            run_id, ServerSettings(runs_dir=self.runs_dir, task_options=options or {}, batch_size=4)
        )
        description = {"task": task, "arrays": model.describe(parameters)}
        record.note_nodes(Membership({"a": 0}, 1), description, 1, schema.to_json() if schema else "")
        record.finish(model.read(parameters))
        return record.folder


def initialize(net: gluon.Block, *shapes: tuple[int, ...]) -> gluon.Block:
    """Initialize a network with random arrays, running statistics included, for inputs of these shapes."""
    mx.random.seed(7)
    net.initialize()
    net(*(mx.nd.zeros(shape) for shape in shapes))
    for name, parameter in net.collect_params().items():
        least = 0.5 if name.endswith("running_var") else -0.5
        parameter.set_data(mx.nd.random.uniform(least, least + 1, parameter.shape))
    return net
