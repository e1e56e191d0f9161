"""The rows of CSV files in columns, each with its place."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from client.data.splitting import split_rows


@dataclass(frozen=True)
class Table:
    """Columns with one value per row.

    Attributes:
        columns: name -> float64 (n,) with NaN for a missing number, or an object array (n,) of texts with ""
            for a missing one.
        rows: int64 (n,), the number of the line on which each row begins, from 1.
        paths: the files.
        files: int64 (n,), the index of each row's file.
        in_test: bool (n,), whether a row is from `test.csv`; None if the files do not divide the rows.
    """

    columns: Mapping[str, NDArray[Any]]
    rows: NDArray[np.int64]
    paths: tuple[Path, ...]
    files: NDArray[np.int64]
    in_test: NDArray[np.bool_] | None = None

    @property
    def path(self) -> Path:
        """The first file."""
        return self.paths[0]

    def __len__(self) -> int:
        """Return the number of rows."""
        return len(self.rows)

    def place(self, index: int) -> tuple[Path, int]:
        """Return the file and the line of a row."""
        return self.paths[self.files[index]], int(self.rows[index])

    def select(self, chosen: NDArray[Any]) -> "Table":
        """Return some rows, by their indices or by a mask."""
        in_test = None if self.in_test is None else self.in_test[chosen]
        columns = {name: values[chosen] for name, values in self.columns.items()}
        return replace(
            self, columns=columns, rows=self.rows[chosen], files=self.files[chosen], in_test=in_test
        )

    def split(self, test_share: float = 0.2) -> tuple["Table", "Table"]:
        """Divide the rows into a training and a test set, the same at every call.

        Args:
            test_share: the share of the test set. It is ignored if a file `test.csv` has the test set; with
                0, both sets are the whole table.

        Raises:
            SettingsError: the share is out of range.
        """
        if self.in_test is not None:
            parts = self.select(~self.in_test), self.select(self.in_test)
            return replace(parts[0], in_test=None), replace(parts[1], in_test=None)
        train, test = split_rows(len(self), test_share)
        return self.select(train), self.select(test)
