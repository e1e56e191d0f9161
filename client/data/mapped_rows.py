"""Announces to the kernel which rows of a memory map will be read.

It knows no better than to read ahead at every row that is not in memory, up to 8 MB on some machines. If the
map is larger than memory, most of that is dropped before its turn comes.
"""

import ctypes
import mmap
from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

_PAGE = mmap.PAGESIZE


def begin_reading(rows: NDArray[Any], chosen: NDArray[np.int64]) -> None:
    """Have the kernel begin to read some rows, all at once; nothing happens for an array in memory."""
    if not _is_map(rows) or not len(chosen):
        return
    size = rows.nbytes // len(rows)
    starts = rows.ctypes.data + np.sort(chosen) * size
    first, last = starts // _PAGE, (starts + size - 1) // _PAGE
    # Rows that follow one another, or are in one page, are one request.
    ends = np.flatnonzero(first[1:] > last[:-1] + 1)
    for begin, end in zip(first[np.r_[0, ends + 1]], last[np.r_[ends, -1]], strict=True):
        _advise(int(begin), int(end))


def _is_map(rows: NDArray[Any]) -> bool:
    """Whether rows follow one another in a memory map; numpy's results of computations have its type too."""
    return (
        isinstance(rows, np.memmap) and rows.flags.c_contiguous and getattr(rows, "_mmap", None) is not None
    )


@cache
def _find_madvise() -> Callable[[ctypes.c_void_p, ctypes.c_size_t, int], int]:
    function: Callable[[ctypes.c_void_p, ctypes.c_size_t, int], int] = ctypes.CDLL(None).madvise
    return function


def _advise(first: int, last: int) -> None:
    """Have the kernel read pages, including the last one; that it may refuse changes no result."""
    address, length = first * _PAGE, (last + 1 - first) * _PAGE
    _find_madvise()(ctypes.c_void_p(address), ctypes.c_size_t(length), mmap.MADV_WILLNEED)
