"""Draws a shape in one color on a noisy background of another."""

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Shape = Callable[[Floats, Floats], Any]
"""Coordinates -> how far a point is outside of a shape whose radius is 1; negative inside."""


def _polygon(corners: int) -> Shape:
    angles = 2 * np.pi * (np.arange(corners) + 0.5) / corners
    inner = np.cos(np.pi / corners)
    return lambda x, y: np.max([x * np.cos(a) + y * np.sin(a) for a in angles], axis=0) - inner


def _star(points: int) -> Shape:
    return lambda x, y: np.hypot(x, y) - 0.7 - 0.3 * np.cos(points * np.arctan2(y, x))


SHAPES: dict[str, Shape] = {
    "circle": lambda x, y: np.hypot(x, y) - 0.9,
    "cross": lambda x, y: np.maximum(np.minimum(abs(x), abs(y)) - 0.28, np.maximum(abs(x), abs(y)) - 0.95),
    "square": _polygon(4),
    "triangle": _polygon(3),
}
OTHERS: dict[str, Shape] = {
    "bar": lambda x, y: np.maximum(abs(x) - 0.25, abs(y) - 1),
    "crescent": lambda x, y: np.maximum(np.hypot(x, y) - 0.95, 0.7 - np.hypot(x - 0.5, y)),
    "ellipse": lambda x, y: np.hypot(x, 1.8 * y) - 1,
    "half": lambda x, y: np.maximum(np.hypot(x, y) - 1, x),
    "kite": lambda x, y: abs(x) + 2 * abs(y) - 1,
    "pentagon": _polygon(5),
    "ring": lambda x, y: abs(np.hypot(x, y) - 0.75) - 0.2,
    "star": _star(5),
}


def draw(shape: Shape, light: float, rng: np.random.Generator, size: int = 64) -> NDArray[np.uint8]:
    """Draw a picture.

    Args:
        shape: the shape.
        light: brightness that is added, from -255 to 255, as another camera would.
        rng: draws place, size, angle and colors.
        size: pixels of a side.

    Returns:
        uint8 (size, size, 3).
    """
    radius = rng.uniform(0.45, 0.75)
    left, top = rng.uniform(radius - 1, 1 - radius, 2)
    angle = rng.uniform(0, 2 * np.pi)
    rows, columns = np.mgrid[-1 : 1 : size * 1j, -1 : 1 : size * 1j]
    x, y = (columns - left) / radius, (rows - top) / radius
    outside = shape(x * np.cos(angle) + y * np.sin(angle), y * np.cos(angle) - x * np.sin(angle))
    # The edge is as wide as a pixel.
    share = np.clip(0.5 - outside * radius * size / 2, 0, 1)[..., None]
    ground, color = _choose_colors(rng)
    picture = ground + share * (color - ground) + rng.normal(0, 12, (size, size, 3)) + light
    drawn: NDArray[np.uint8] = np.clip(picture, 0, 255).astype(np.uint8)
    return drawn


def _choose_colors(rng: np.random.Generator) -> Floats:
    """Draw a dark color and a bright one."""
    return np.stack([rng.uniform(0, 100, 3), rng.uniform(150, 255, 3)])
