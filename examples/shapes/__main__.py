"""`python -m examples.shapes FOLDER`: writes class folders of small pictures for some sites.

The sites are the folders 1, 2, ... Their pictures differ in brightness and in how many there are of a class.
"""

import argparse
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from client.png import encode
from examples.shapes.draw import OTHERS, SHAPES, draw

_LIGHT = 40.0


def write_sites(folder: Path, sites: int, images: int, *, others: bool = False, seed: int = 0) -> None:
    """Write the pictures of all sites.

    Args:
        folder: gets a folder for each site, which has one for each class.
        sites: the number of sites.
        images: the number of pictures of all sites together.
        others: whether to draw other shapes, to pretrain a network with.
        seed: of all that is drawn.
    """
    shapes = OTHERS if others else SHAPES
    rng = np.random.default_rng([seed, others])
    for site in range(sites):
        light = _LIGHT * (2 * site / (sites - 1) - 1) if sites > 1 else 0.0
        # At each site, one class has twice as many pictures as the others.
        shares = np.ones(len(shapes))
        shares[site % len(shapes)] = 2
        for name, count in zip(shapes, _divide(images // sites, shares), strict=True):
            place = folder / str(site + 1) / name
            place.mkdir(parents=True, exist_ok=True)
            for number in range(count):
                picture = draw(shapes[name], light, rng)
                (place / f"{name}-{number:04}.png").write_bytes(encode(picture))


def _divide(total: int, shares: NDArray[np.float64]) -> list[int]:
    """Divide a number by shares, without a rest."""
    ends = np.round(total * np.cumsum(shares) / shares.sum()).astype(int)
    return [int(count) for count in np.diff(ends, prepend=0)]


def main() -> None:
    """Write the pictures that the arguments ask for."""
    parser = argparse.ArgumentParser(prog="python -m examples.shapes", description="Write small pictures.")
    parser.add_argument("folder", type=Path, help="gets a folder for each site")
    parser.add_argument("--sites", type=int, default=2, help="default: 2")
    parser.add_argument("--images", type=int, default=400, help="of all sites together; default: 400")
    parser.add_argument("--others", action="store_true", help="draw other shapes, to pretrain a network with")
    arguments = parser.parse_args()
    write_sites(arguments.folder, arguments.sites, arguments.images, others=arguments.others)


if __name__ == "__main__":
    main()
