"""Images in class folders: one folder for each class, with PNG and JPEG files of any size."""

import hashlib
import stat
import unicodedata
from collections.abc import Sequence
from copy import copy
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from client.data.image_files import check_image, is_image, read_image
from client.data.progress import log_progress
from client.data.rare import Rare, check_rare
from client.data.splitting import split_classes
from client.mx import gluon, mx
from fedmx.errors import DataError
from fedmx.files import disk_errors
from fedmx.listing import list_names
from fedmx.log import warn

_SIDES = ("train", "test")
# What file managers leave behind, besides names that begin with a dot.
_HIDDEN = ("thumbs.db", "desktop.ini", "__macosx")
_SIGNATURE_BYTES = 8
_EXPECTED = "expected one folder for each class, with its images in it"


class ImageFolder(gluon.data.Dataset):  # type: ignore[misc] # MXNet has no types
    """A dataset of (image, class number) that decodes an image when it is read.

    An image is an MXNet array, uint8 (rows, columns, 3), as gluon's transforms take it. All files are read
    once at the start, and checked without decoding.

    Args:
        folder: has one folder for each class. Hidden files, whose name begins with a dot, are skipped.
        classes: names in the order of their numbers, such as `schema["class"].values`. Images of other
            classes are left out. None: the names of the folders, sorted.
        rare: whether a class with fewer than `least` images is an error, or is left out.
        least: the fewest images of a class; 2 are enough for one to train and one to test.

    Attributes:
        classes: the names of the classes.
        paths: the files.
        labels: their class numbers, int64 (n,).

    Raises:
        DataError: a folder or file is missing, unreadable, empty, damaged or of another format.
        SettingsError: `rare` is neither.
    """

    def __init__(
        self,
        folder: Path | str,
        classes: Sequence[str] | None = None,
        *,
        rare: Rare = "refuse",
        least: int = 2,
    ) -> None:
        check_rare(rare)
        folder = Path(folder)
        found = _leave_out_rare(folder, _list_classes(folder), rare, least)
        files = (path for paths in found.values() for path in paths)
        for path in log_progress(files, "checking images", folder=folder):
            _check_file(path)
        self.classes = tuple(sorted(found) if classes is None else classes)
        known = {name: paths for name, paths in found.items() if name in self.classes}
        _warn_of_others(folder, found, known)
        if not known:
            raise DataError(
                f"{folder}: has images of {list_names(found)}; expected some of {list_names(self.classes)}"
            )
        numbers = {name: number for number, name in enumerate(self.classes)}
        self.paths = [path for name in sorted(known) for path in known[name]]
        self.labels: NDArray[np.int64] = np.repeat(
            [numbers[name] for name in sorted(known)], [len(known[name]) for name in sorted(known)]
        ).astype(np.int64)

    def __len__(self) -> int:
        """Return the number of images."""
        return len(self.paths)

    def __getitem__(self, index: int) -> tuple[mx.nd.NDArray, int]:
        """Return an image and its class number."""
        return read_image(self.paths[index]), int(self.labels[index])

    def select(self, indices: NDArray[Any] | Sequence[int]) -> "ImageFolder":
        """Return a dataset of some of the images."""
        chosen = copy(self)
        chosen.paths = [self.paths[int(index)] for index in indices]
        chosen.labels = self.labels[np.asarray(indices, np.int64)]
        return chosen

    def split(self, test_share: float = 0.2) -> tuple["ImageFolder", "ImageFolder"]:
        """Divide the images of each class into those to train and those to test, at least one of each.

        The name of a file decides, so that an image stays in its set when others are added. With a share of
        0, both sets are all images.

        Raises:
            SettingsError: the share is out of range.
        """
        train, test = split_classes(
            self.labels, test_share, lambda own: sorted(map(int, own), key=self._hash_name)
        )
        return self.select(train), self.select(test)

    def _hash_name(self, index: int) -> bytes:
        name = unicodedata.normalize("NFC", self.paths[index].name)
        return hashlib.sha256(name.encode()).digest()


def load_image_folders(
    folder: Path | str, classes: Sequence[str] | None = None, *, rare: Rare = "refuse"
) -> tuple[ImageFolder, ImageFolder]:
    """Return the training and the test set: the folders `train` and `test` if both exist, or a fixed split.

    Args:
        folder: has class folders, or has `train` and `test`, which have class folders.
        classes: see `ImageFolder`.
        rare: see `ImageFolder`.

    Raises:
        DataError: as `ImageFolder`.
    """
    train, test = (Path(folder) / side for side in _SIDES)
    if train.is_dir() and test.is_dir():
        examples = ImageFolder(train, classes, rare=rare)
        return examples, ImageFolder(test, examples.classes, least=1)
    return ImageFolder(folder, classes, rare=rare).split()


def _list(folder: Path) -> list[Path]:
    """Return what is in a folder, sorted, without hidden files."""
    with disk_errors(folder, reads=True):
        found = sorted(folder.iterdir())
    return [path for path in found if not path.name.startswith(".") and path.name.lower() not in _HIDDEN]


def _list_classes(folder: Path) -> dict[str, list[Path]]:
    """Return the files of each class folder, without reading them."""
    entries = _list(folder)
    for path in entries:
        _check_link(path)
        if path.is_file() and is_image(_read_start(path)):
            raise DataError(f"{path}: an image outside of a class folder; {_EXPECTED}")
    folders = [path for path in entries if path.is_dir()]
    if not folders:
        raise DataError(f"{folder}: has no class folders; {_EXPECTED}")
    classes: dict[str, list[Path]] = {}
    for path in folders:
        # One name for what two file systems write differently.
        name = unicodedata.normalize("NFC", path.name)
        if not name.isprintable():
            raise DataError(f"{str(path)!r}: not a printable name; expected a class's name in UTF-8")
        classes.setdefault(name, []).extend(_list(path))
    for path in folders:
        if not classes[unicodedata.normalize("NFC", path.name)]:
            raise DataError(f"{path}: has no images; expected the images of a class, or no such folder")
    return classes


def _read_start(path: Path) -> bytes:
    with disk_errors(path, reads=True), path.open("rb") as file:
        return file.read(_SIGNATURE_BYTES)


def _leave_out_rare(
    folder: Path, found: dict[str, list[Path]], rare: Rare, least: int
) -> dict[str, list[Path]]:
    few = {name: paths for name, paths in found.items() if len(paths) < least}
    if few and rare == "refuse":
        name, paths = next(iter(few.items()))
        raise DataError(
            f"{paths[0].parent}: the class {name!r} has {len(paths)} image; expected at least {least}: add"
            ' images, or set the option rare: "other" to leave such classes out'
        )
    if few:
        warn("rare classes left out", folder=folder, images=sum(map(len, few.values())), classes=[*few])
    return {name: paths for name, paths in found.items() if name not in few}


def _warn_of_others(folder: Path, found: dict[str, list[Path]], known: dict[str, list[Path]]) -> None:
    others = [name for name in found if name not in known]
    if others:
        count = sum(len(found[name]) for name in others)
        warn("images of other classes left out", folder=folder, images=count, classes=others)


def _check_file(path: Path) -> None:
    _check_link(path)
    with disk_errors(path, reads=True):
        mode = path.stat().st_mode
        # A pipe would be read without end.
        if not stat.S_ISREG(mode):
            kind = "a folder" if stat.S_ISDIR(mode) else "not a file"
            raise DataError(f"{path}: {kind}; expected an image: a class folder has nothing but images")
        data = path.read_bytes()
    if not data:
        raise DataError(f"{path}: an empty file; expected an image")
    check_image(path, data)


def _check_link(path: Path) -> None:
    if path.is_symlink() and not path.exists():
        raise DataError(f"{path}: a link to {path.readlink()}, which does not exist; expected images")
