"""The tiny task, whose loading and training last until a display shows which nodes are awaited."""

import time
from pathlib import Path
from typing import Any

from client.context import Context
from client.mx import gluon
from tests.federation.tasks import looping_task, tiny_task
from tests.federation.tasks.tiny_task import Sets, build_model

__all__ = ["build_model", "load_data", "train"]

# A display is drawn several times a second, and shows the nodes that a step waits for after one second.
_LINGER_S = 2


def load_data(folder: Path) -> tuple[Sets, Sets]:
    time.sleep(_LINGER_S)
    return tiny_task.load_data(folder)


def train(net: gluon.Block, data: gluon.data.Dataset, context: Context) -> dict[str, Any]:
    time.sleep(_LINGER_S)
    return looping_task.train(net, data, context)
