"""Ratings that users gave to items: a product of few factors, and noise."""

import numpy as np

USERS = 400
ITEMS = 300
_RATINGS = 30000
_FACTORS = 3


def load_ratings():
    """Return the training and the test set: (users int32 (n,), items int32 (n,), ratings float32 (n,))."""
    rng = np.random.default_rng(1)
    user_factors = rng.normal(size=(USERS, _FACTORS))
    item_factors = rng.normal(size=(ITEMS, _FACTORS))
    pairs = rng.permutation(USERS * ITEMS)[:_RATINGS].astype(np.int32)
    users, items = pairs // ITEMS, pairs % ITEMS
    ratings = 3.5 + (user_factors[users] * item_factors[items]).sum(axis=1) / _FACTORS**0.5
    ratings = (ratings + rng.normal(0, 0.3, _RATINGS)).astype(np.float32)
    train = slice(_RATINGS // 5, None)
    test = slice(_RATINGS // 5)
    return tuple((users[part], items[part], ratings[part]) for part in (train, test))
