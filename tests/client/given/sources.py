"""The source of a task that works, and the error of one that does not."""

from collections.abc import Callable

import pytest

from client.task import Task
from fedmx.errors import FederationError

GOOD = """
import numpy as np
from mxnet import gluon

def build_model():
    return gluon.nn.Dense(2)

def load_data(data_dir):
    return (np.ones((4, 3)), np.arange(4)), (np.ones((2, 3)), np.arange(2))
"""

Load = Callable[[str], Task]

TASK = "expected a module with build_model() and load_data(data_dir)"


def error_of(run: Callable[[], object]) -> str:
    """Return the message of an error, which is one line with exit code 2."""
    with pytest.raises(FederationError) as caught:
        run()
    assert caught.value.exit_code == 2
    message = str(caught.value)
    assert "\n" not in message
    return message
