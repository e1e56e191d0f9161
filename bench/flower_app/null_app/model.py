"""The arrays that travel, in two sizes, and the metrics that travel with them."""

import numpy as np
from numpy.typing import NDArray

SHAPES: dict[str, list[tuple[int, ...]]] = {
    # The MLP 784-256-64-10 of MXNet's digit tutorial: 218,058 values.
    "small": [(256, 784), (256,), (64, 256), (64,), (10, 64), (10,)],
    # 25 layers of a million values: 100,000,000 bytes.
    "large": [(1000, 1000)] * 25,
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
