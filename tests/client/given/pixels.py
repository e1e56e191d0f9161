"""Images of a run's task, and files of them."""

import struct

import numpy as np
from numpy.typing import NDArray

from client.mx import gluon
from client.task import load_task
from tests.client.given.saved_runs import Workplace, initialize

PIXELS = (np.arange(30 * 3).reshape(6, 5, 3) * 2).astype(np.uint8)
GREY = np.repeat(PIXELS[..., :1], 3, axis=2)


def save(workplace: Workplace, name: str, source: str, shape: tuple[int, ...]) -> gluon.Block:
    """Save a run of a task, and return its network."""
    workplace.write_task(name, source)
    net = initialize(load_task(name).build_model(), shape)
    workplace.save_run(name, net, run_id=name)
    return net


def as_idx(images: NDArray[np.uint8]) -> bytes:
    """Return grey images as the content of an IDX file."""
    return b"\0\0\x08\x03" + struct.pack(">3I", *images.shape) + images.tobytes()
