"""Updates with fewer bytes: what training changed in an array, in 8 or 16 bits for each value (WIRE_DTYPE).

Each value is rounded up or down at random, with probabilities whose mean is the value, so that an average
over many values, nodes or rounds is not biased. Nodes keep no state, so no rounding error is carried over to
the next round. The random bits are those of numpy's PCG64, whose stream never changes, seeded with SHA-256.
"""

import hashlib
import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

RECORD = "reduced"
"""The record of a reply that contains what is needed to restore its arrays."""

# WIRE_DTYPE -> the dtype of the arrays that travel; numpy has no bfloat16.
DTYPES = {"float16": "float16", "bfloat16": "uint16", "int8": "int8"}

# The largest change becomes this value. In float16, half of the exponents are left for the smaller ones.
_LARGEST = {"float16": 1024.0, "int8": 127.0}
# Bits of a float32 that a float16 and a bfloat16 lack, and the smallest float16 that has all of its own.
_LACKING_16, _LACKING_B16 = 13, 16
_SMALLEST_NORMAL_16 = np.float32(2.0**-14)
_STEPS_BELOW_16 = np.float32(2.0**24)
_INFINITY_B16 = 0x7F80
# The smallest float32 by which a division is exact enough.
_LEAST_SCALE = 2.0**-126


def reduce(
    change: NDArray[np.float32], dtype: str, seed: Sequence[object]
) -> tuple[NDArray[np.generic], float]:
    """Return a change in fewer bits, and the scale by which it is multiplied to be restored.

    Args:
        change: what was added to an array.
        dtype: `float16`, `bfloat16` or `int8`.
        seed: decides which values are rounded up; its texts are hashed.

    Returns:
        An array of the same shape; the scale is not finite if a value is not.
    """
    flat = change.reshape(-1)
    largest = float(np.abs(flat).max(initial=np.float32(0)))
    if largest == 0.0 or not math.isfinite(largest):
        return np.zeros(change.shape, DTYPES[dtype]), largest
    bits = _draw(flat.size, seed)
    if dtype == "bfloat16":
        # It has the range of a float32.
        return _round_to_bfloat16(flat, bits).reshape(change.shape), 1.0
    scale = np.float32(max(largest / _LARGEST[dtype], _LEAST_SCALE))
    round_ = _round_to_float16 if dtype == "float16" else _round_to_int8
    return round_(flat / scale, bits).reshape(change.shape), float(scale)


def restore(reduced: NDArray[np.generic], dtype: str, scale: float) -> NDArray[np.float32]:
    """Return the change that `reduce` made smaller."""
    if dtype == "bfloat16":
        return (reduced.astype(np.uint32) << np.uint32(_LACKING_B16)).view(np.float32)
    return reduced.astype(np.float32) * np.float32(scale)


def _draw(count: int, seed: Sequence[object]) -> NDArray[np.uint16]:
    digest = hashlib.sha256("\0".join(map(str, seed)).encode()).digest()
    raw = np.random.PCG64(int.from_bytes(digest)).random_raw(-(-count // 4))
    return np.asarray(raw, np.uint64).view(np.uint16)[:count]


def _round_to_int8(scaled: NDArray[np.float32], bits: NDArray[np.uint16]) -> NDArray[np.int8]:
    return np.asarray(np.clip(np.floor(scaled + _as_fractions(bits)), -127, 127), np.int8)


def _round_to_float16(scaled: NDArray[np.float32], bits: NDArray[np.uint16]) -> NDArray[np.float16]:
    random = bits.astype(np.uint32) >> np.uint32(16 - _LACKING_16)
    kept = (scaled.view(np.uint32) + random) >> np.uint32(_LACKING_16) << np.uint32(_LACKING_16)
    rounded = kept.view(np.float32)
    # Those below have fewer bits, at equal steps.
    stepped = np.floor(scaled * _STEPS_BELOW_16 + _as_fractions(bits)) / _STEPS_BELOW_16
    return np.where(np.abs(scaled) < _SMALLEST_NORMAL_16, stepped, rounded).astype(np.float16)


def _round_to_bfloat16(values: NDArray[np.float32], bits: NDArray[np.uint16]) -> NDArray[np.uint16]:
    wide = values.view(np.uint32)
    rounded = ((wide + bits) >> np.uint32(_LACKING_B16)).astype(np.uint16)
    truncated = (wide >> np.uint32(_LACKING_B16)).astype(np.uint16)
    # The largest values are not rounded up to infinity.
    return np.where(rounded & np.uint16(_INFINITY_B16) == _INFINITY_B16, truncated, rounded)


def _as_fractions(bits: NDArray[np.uint16]) -> NDArray[np.float32]:
    """Return numbers in (0, 1) that are spread evenly."""
    return (bits.astype(np.float32) + np.float32(0.5)) * np.float32(2.0**-16)
