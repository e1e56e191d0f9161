"""Finds the file of a dataset in a folder, or the files of its training and its test set."""

from collections.abc import Sequence
from pathlib import Path

from fedmx.errors import DataError
from fedmx.files import disk_errors


def find_set_files(folder: Path, suffix: str, tests: Sequence[str] = ("test",)) -> list[Path]:
    """Return the one file with a suffix, or two: `train`, and the first of some names for the test set.

    Args:
        folder: where they are. Hidden files are ignored.
        suffix: such as `.npz`.
        tests: names for the test set, without the suffix.

    Raises:
        DataError: there is no such file, or several without a training and a test set.
    """
    with disk_errors(folder, reads=True):
        names = sorted(path.name for path in folder.iterdir() if path.suffix == suffix)
    names = [name for name in names if not name.startswith(".")]
    train, files = f"train{suffix}", [f"{test}{suffix}" for test in tests]
    test = next((file for file in files if file in names), None)
    if train in names and test is not None:
        return [folder / train, folder / test]
    if len(names) != 1:
        found = ", ".join(names) or f"no {suffix} file"
        raise DataError(
            f"{folder}: has {found}; expected one {suffix} file, or {train} and {' or '.join(files)}"
        )
    return [folder / names[0]]
