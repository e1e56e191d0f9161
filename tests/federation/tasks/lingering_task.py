"""The tiny task, whose training waits until a display shows with which nodes a step is still waiting."""

import time
from typing import Any

from client.context import Context
from client.mx import gluon
from tests.federation.tasks import looping_task
from tests.federation.tasks.tiny_task import build_model, load_data

__all__ = ["build_model", "load_data", "train"]


def train(net: gluon.Block, data: gluon.data.Dataset, context: Context) -> dict[str, Any]:
    # A step is shown with the nodes that it waits for once it has lasted for a second.
    time.sleep(2)
    return looping_task.train(net, data, context)
