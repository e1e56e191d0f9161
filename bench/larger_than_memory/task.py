"""The task: a set of `bench.larger_than_memory.sets` and one of two networks, as TASK_OPTIONS says."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from bench.larger_than_memory import sets
from client.mx import gluon


def build_model(options: Mapping[str, Any]) -> gluon.Block:
    """Build a network whose step takes less time than reading a batch, or about as long."""
    nn = gluon.nn
    net = nn.HybridSequential()
    if options["network"] == "small":
        net.add(nn.Conv2D(8, 3, strides=4, activation="relu"))
    else:
        for channels in (16, 32, 64, 64):
            net.add(nn.Conv2D(channels, 3, strides=2, use_bias=False), nn.BatchNorm(), nn.Activation("relu"))
    net.add(nn.GlobalAvgPool2D(), nn.Dense(sets.CLASSES))
    return net


def load_data(data_dir: Path, options: Mapping[str, Any]) -> tuple[Any, Any]:
    """Open the set in a folder."""
    return sets.open_sets(data_dir, options["kind"])
