"""Images with a few coloured shapes, and the class of each pixel."""

import numpy as np

CLASSES = 4
_SIZE = 32


def draw_shapes(count, seed):
    """Return images float32 (n, 3, 32, 32) and masks uint8 (n, 32, 32): 0 background, square, disc, cross."""
    rng = np.random.default_rng(seed)
    images = rng.normal(0, 0.4, (count, 3, _SIZE, _SIZE))
    masks = np.zeros((count, _SIZE, _SIZE), np.uint8)
    rows, columns = np.mgrid[:_SIZE, :_SIZE]
    for image, mask in zip(images, masks, strict=True):
        for kind in rng.permutation([1, 2, 3])[: rng.integers(1, 4)]:
            y, x = rng.integers(7, _SIZE - 7, 2)
            across, along = np.abs(rows - y), np.abs(columns - x)
            inside = {
                1: np.maximum(across, along) < 6,
                2: across**2 + along**2 < 45,
                3: (np.minimum(across, along) < 2) & (np.maximum(across, along) < 7),
            }[int(kind)]
            image[:, inside] += rng.uniform(0.4, 1.2, (3, 1))
            mask[inside] = kind
    return images.astype(np.float32), masks
