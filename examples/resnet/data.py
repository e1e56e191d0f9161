"""Images of ten smooth patterns, shifted, mirrored and noisy."""

import numpy as np

CLASSES = 10


def draw_images(count, seed):
    """Return images uint8 (n, 32, 32, 3) and their classes int32 (n,)."""
    patterns = np.random.default_rng(0).normal(size=(CLASSES, 6, 6, 3)).repeat(8, axis=1).repeat(8, axis=2)
    rng = np.random.default_rng(seed)
    labels = rng.integers(CLASSES, size=count).astype(np.int32)
    images = np.empty((count, 32, 32, 3))
    for image, label in zip(images, labels, strict=True):
        y, x = rng.integers(4, 13, 2)
        image[:] = patterns[label, y : y + 32, x : x + 32][:, :: rng.choice([-1, 1])]
    images = 128 + 30 * images + rng.normal(0, 45, images.shape)
    return images.clip(0, 255).astype(np.uint8), labels
