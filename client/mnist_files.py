"""Finds the four files of a dataset in MNIST's form, under the names by which such datasets are handed out.

MNIST's own are `train-images-idx3-ubyte` and so on. Others write `.idx3-ubyte`, `test` for `t10k`, or begin
with the name of the dataset, such as `emnist-digits-train-images-idx3-ubyte`; each may end with `.gz`.
"""

import re
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path

from fedmx.errors import DataError

FOUR_FILES = "expected the four IDX files (see data/mnist/README.md)"
# In the order in which they are returned.
_ROLES = ("train-images", "train-labels", "t10k-images", "t10k-labels")
_IDX = {"images": "idx3", "labels": "idx1"}
_NAME = re.compile(
    r"(?P<dataset>(?:.+[-_.])?)(?P<part>train|t10k|test)-(?P<kind>images|labels)[-.](?P<idx>idx[13])-ubyte(?:\.gz)?"
)

_Found = dict[str, list[Path]]


def find_four(data_dir: Path) -> list[Path]:
    """Return the images and labels to train on, then those to test on.

    Files whose names begin with a dataset's are looked at where there are none with MNIST's own. Where one is
    there plain and compressed, the plain one is returned.

    Raises:
        DataError: one is missing, or there are several for one.
        OSError: the folder cannot be read.
    """
    datasets = _group(path for path in data_dir.iterdir() if path.is_file())
    dataset = "" if "" in datasets or not datasets else min(datasets)
    if len(datasets) > 1 and dataset:
        names = ", ".join(sorted(name.rstrip("-_.") for name in datasets))
        raise DataError(
            f"DATA_DIR={data_dir}: files of {len(datasets)} datasets ({names}): expected those of one"
        )
    return [_choose(data_dir, f"{dataset}{role}", datasets[dataset][role]) for role in _ROLES]


def _group(paths: Iterable[Path]) -> dict[str, _Found]:
    """Sort files by dataset and role; others are left out."""
    datasets: dict[str, _Found] = defaultdict(lambda: defaultdict(list))
    for path in paths:
        found = _NAME.fullmatch(path.name)
        if found and found["idx"] == _IDX[found["kind"]]:
            part = "train" if found["part"] == "train" else "t10k"
            datasets[found["dataset"]][f"{part}-{found['kind']}"].append(path)
    return datasets


def _choose(data_dir: Path, role: str, paths: list[Path]) -> Path:
    if not paths:
        name = f"{role}-{_IDX[role.rpartition('-')[2]]}-ubyte"
        raise DataError(f"DATA_DIR={data_dir}: {name}.gz or {name} not found: {FOUR_FILES}")
    if len({path.name.removesuffix(".gz") for path in paths}) > 1:
        names = ", ".join(sorted(path.name for path in paths))
        raise DataError(f"DATA_DIR={data_dir}: {len(paths)} files for {role} ({names}): expected one of them")
    # The plain one's name is the shorter.
    return min(paths)
