"""Images with one to four bright squares and discs, and their boxes."""

import numpy as np

CLASSES = ("square", "disc")
_SIZE = 48


def draw_scenes(count, seed):
    """Return pairs of an image float32 (3, 48, 48) and its boxes float32 (n, 5).

    A box is its class, left, top, right and bottom, as fractions of the image's side.
    """
    rng = np.random.default_rng(seed)
    return [_draw_scene(rng) for _ in range(count)]


def _draw_scene(rng):
    image = rng.normal(0, 0.15, (3, _SIZE, _SIZE))
    rows, columns = np.mgrid[:_SIZE, :_SIZE]
    corners = rng.permutation([(0, 0), (0, 24), (24, 0), (24, 24)])[: rng.integers(1, 5)]
    boxes = []
    for top, left in corners:
        side = rng.integers(11, 20)
        y, x = np.array([top, left]) + rng.integers(0, 24 - side + 1, 2)
        kind = rng.integers(len(CLASSES))
        inside = (rows >= y) & (rows < y + side) & (columns >= x) & (columns < x + side)
        if CLASSES[kind] == "disc":
            middle = (side - 1) / 2
            inside = (rows - y - middle) ** 2 + (columns - x - middle) ** 2 <= (side / 2) ** 2
        image[:, inside] += rng.uniform(0.5, 1, (3, 1))
        boxes.append((kind, x / _SIZE, y / _SIZE, (x + side) / _SIZE, (y + side) / _SIZE))
    return image.astype(np.float32), np.array(boxes, np.float32)
