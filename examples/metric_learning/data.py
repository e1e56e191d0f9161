"""Measurements of many kinds of things, hidden under variations that kinds have in common."""

import numpy as np


def measure_things(count, classes, seed):
    """Return measurements float32 (n, 48) and kinds int32 (n,); another seed has other kinds."""
    mixing = np.random.default_rng(0)
    of_kind, of_variation = mixing.normal(size=(6, 48)), mixing.normal(size=(12, 48))
    rng = np.random.default_rng(seed)
    kinds = rng.integers(classes, size=count).astype(np.int32)
    places = rng.normal(size=(classes, 6))[kinds] + 0.3 * rng.normal(size=(count, 6))
    variations = 1.5 * rng.normal(size=(count, 12))
    return np.tanh((places @ of_kind + variations @ of_variation) / 8).astype(np.float32), kinds
