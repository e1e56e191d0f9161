"""The arrays that travel, in some sizes, what a node changes in them, and the metrics beside them."""

import struct

import numpy as np
from numpy.typing import NDArray

SHAPES: dict[str, list[tuple[int, ...]]] = {
    # The MLP 784-256-64-10 of MXNet's digit tutorial: 218,058 values.
    "small": [(256, 784), (256,), (64, 256), (64,), (10, 64), (10,)],
    # 25 layers of 250,000 values: 25,000,000 bytes.
    "medium": [(500, 500)] * 25,
    # 25 layers of a million values: 100,000,000 bytes.
    "large": [(1000, 1000)] * 25,
    # 20 layers of 25 million values: 2,000,000,000 bytes.
    "huge": [(5000, 5000)] * 20,
}
EXAMPLES = 1000


def model_bytes(size: str) -> int:
    """Count the bytes of a model's float32 values."""
    return 4 * sum(int(np.prod(shape)) for shape in SHAPES[size])


def make_arrays(size: str) -> list[NDArray[np.float32]]:
    """Draw a model's arrays, float32, from the standard normal distribution, which does not compress."""
    generator = np.random.default_rng(0)
    return [generator.standard_normal(shape, dtype=np.float32) for shape in SHAPES[size]]


def make_metrics(node: int) -> dict[str, int | float]:
    """Return a node's metrics; `num-examples` differs between nodes, to make the average weighted."""
    return {"loss": 0.5, "accuracy": 0.9, "num-examples": EXAMPLES * (1 + node % 2)}


def step_of(node: int) -> float:
    """Return what a node adds to the first value of each array: something else than the next node does."""
    return 1.0 + node % 16


def change_file(data: bytes, node: int) -> bytes:
    """Return an npy file of float32 whose first value a node has changed, at the price of one copy.

    An engine that recognizes arrays which the other side has would not send those of a node that changes
    nothing.
    """
    # Version 1 of the format: the header's length is a u16 after the magic string and the version.
    at = 10 + int.from_bytes(data[8:10], "little")
    (first,) = struct.unpack_from("<f", data, at)
    view = memoryview(data)
    return b"".join((view[:at], struct.pack("<f", first + step_of(node)), view[at + 4 :]))
