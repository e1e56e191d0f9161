"""A task that a node rehearses when it starts, with mistakes to add, and the error of one that has some."""

from collections.abc import Callable

import pytest

from client.trainer import Trainer
from fedmx.errors import SettingsError

GOOD = """
import numpy as np
from mxnet import autograd, gluon, nd

class Net(gluon.HybridBlock):
    def __init__(self):
        super().__init__()
        self.head = gluon.nn.Dense(2)

    def hybrid_forward(self, F, x):
        return self.head(x)

class Plain(gluon.Block):
    def __init__(self, head=None):
        super().__init__()
        self.head = head or gluon.nn.Dense(2)
        self.forwards = 0

def build_model():
    return Net()

def load_data(data_dir):
    examples = np.random.default_rng(0).standard_normal((20, 3)).astype("float32")
    return (examples, np.arange(20) // 10), (examples[:6], np.arange(6) % 2)
"""

Start = Callable[[str], Trainer]


def message_of(start: Start, source: str) -> str:
    with pytest.raises(SettingsError) as caught:
        start(source)
    message = str(caught.value)
    assert "\n" not in message
    assert message.startswith("TASK=their_task: ")
    return message


def line_of_fault(source: str) -> int:
    return next(n for n, line in enumerate((GOOD + source).splitlines(), 1) if line.endswith("# FAULT"))
