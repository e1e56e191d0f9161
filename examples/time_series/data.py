"""Sales of many shops by hour: a rhythm of 24, a level and noise of each shop's own."""

import numpy as np

PAST = 48
FUTURE = 12
_SHOPS = 100
_HOURS = 400


def sell():
    """Return series float32 (100, 340) to train on, and for each shop the two windows that follow.

    Returns:
        The series; and (past float32 (200, 48), future float32 (200, 12)).
    """
    rng = np.random.default_rng(1)
    level = rng.uniform(5, 50, (_SHOPS, 1))
    phase, depth = rng.uniform(0, 24, (_SHOPS, 1)), rng.uniform(0.2, 0.6, (_SHOPS, 1))
    hours = np.arange(_HOURS)
    rhythm = 1 + depth * np.sin((hours + phase) * 2 * np.pi / 24)
    sales = level * rhythm * (1 + rng.uniform(0.02, 0.15, (_SHOPS, 1)) * rng.normal(size=(_SHOPS, _HOURS)))
    sales = sales.astype(np.float32)
    starts = (_HOURS - 2 * FUTURE - PAST, _HOURS - FUTURE - PAST)
    windows = np.concatenate([sales[:, start : start + PAST + FUTURE] for start in starts])
    return sales[:, : -2 * FUTURE - 36], (windows[:, :PAST], windows[:, PAST:])
