"""Examples that have some of eight rare labels."""

import numpy as np

LABELS = 8


def load_examples():
    """Return the training and the test set: (features float32 (n, 30), labels float32 (n, 8) of 0 and 1)."""
    rng = np.random.default_rng(1)
    features = rng.normal(size=(4000, 30)).astype(np.float32)
    hidden = np.maximum(features @ rng.normal(size=(30, 12)), 0)
    scores = hidden @ rng.normal(size=(12, LABELS)) + rng.normal(0, 5, (4000, LABELS))
    labels = (scores > np.quantile(scores, 0.92, axis=0)).astype(np.float32)
    return (features[:3000], labels[:3000]), (features[3000:], labels[3000:])
