"""`python -m examples.shapes FOLDER`: writes small pictures of shapes, in class folders, for a federation.

- `sites/1`, `sites/2`: circles, crosses, squares and triangles. Each site has another camera, whose pictures
  are darker or brighter, and most pictures of another class.
- `pretrain`: other shapes, to pretrain a network with.
- `new`: a picture of each class, to apply a network to.
"""

import argparse
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from client.png import encode
from examples.shapes.draw import OTHERS, SHAPES, Shape, draw

_LIGHT = 40.0
_PRETRAIN = 1600


def write_all(folder: Path, sites: int, images: int) -> None:
    """Write the pictures of all sites, and the others.

    Args:
        folder: gets the folders.
        sites: the number of sites.
        images: the number of pictures of all sites together.
    """
    rng = np.random.default_rng(0)
    for site in range(sites):
        light = _LIGHT * (2 * site / (sites - 1) - 1) if sites > 1 else 0.0
        # One class has twice as many pictures as another one.
        shares = 1.0 + (np.arange(len(SHAPES)) == site % len(SHAPES))
        write_classes(folder / "sites" / str(site + 1), SHAPES, _divide(images // sites, shares), light, rng)
    shares = np.ones(len(OTHERS))
    write_classes(folder / "pretrain", OTHERS, _divide(_PRETRAIN, shares), 0.0, rng)
    (folder / "new").mkdir(exist_ok=True)
    for name, shape in SHAPES.items():
        (folder / "new" / f"{name}.png").write_bytes(encode(draw(shape, 0.0, rng)))


def write_classes(
    folder: Path, shapes: dict[str, Shape], counts: list[int], light: float, rng: np.random.Generator
) -> None:
    """Write a folder for each class, with this many pictures."""
    for (name, shape), count in zip(shapes.items(), counts, strict=True):
        (folder / name).mkdir(parents=True, exist_ok=True)
        for number in range(count):
            picture = draw(shape, light, rng)
            (folder / name / f"{name}-{number:04}.png").write_bytes(encode(picture))


def _divide(total: int, shares: NDArray[np.float64]) -> list[int]:
    """Divide a number by shares, without a rest."""
    ends = np.round(total * np.cumsum(shares) / shares.sum()).astype(int)
    return [int(count) for count in np.diff(ends, prepend=0)]


def main() -> None:
    """Write the pictures that the arguments ask for."""
    parser = argparse.ArgumentParser(prog="python -m examples.shapes", description="Write small pictures.")
    parser.add_argument("folder", type=Path, help="gets the folders sites, pretrain and new")
    parser.add_argument("--sites", type=int, default=2, help="default: 2")
    parser.add_argument("--images", type=int, default=400, help="of all sites together; default: 400")
    arguments = parser.parse_args()
    write_all(arguments.folder, arguments.sites, arguments.images)


if __name__ == "__main__":
    main()
