"""Which items users chose, without ratings."""

import numpy as np

USERS = 300
ITEMS = 200
_CHOSEN = 30
_CANDIDATES = 50


def load_choices():
    """Return the training pairs, and candidates of which a ranking has to put the first one on top.

    Returns:
        (users, items), each int32 (n,); and (users int32 (m,), candidates int32 (m, 51)).
    """
    rng = np.random.default_rng(1)
    tastes = rng.normal(size=(USERS, 4)) @ rng.normal(size=(4, ITEMS)) + rng.gumbel(0, 0.7, (USERS, ITEMS))
    # From the most to the least liked item of each user.
    order = np.argsort(-tastes, axis=1).astype(np.int32)
    chosen = rng.permuted(order[:, :_CHOSEN], axis=1)
    others = rng.permuted(order[:, _CHOSEN:], axis=1)[:, :_CANDIDATES]
    users = np.arange(USERS, dtype=np.int32)
    train = users.repeat(_CHOSEN - 1), chosen[:, 1:].ravel()
    return train, (users, np.concatenate([chosen[:, :1], others], axis=1))
