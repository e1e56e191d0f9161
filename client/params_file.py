"""Checks a run's `.params` file, in MXNet's format, against the arrays that the run recorded."""

from collections.abc import Mapping
from pathlib import Path

from flwr.app import Array

from client.mx import mx
from fedmx import arrays
from fedmx.errors import DataError


def check(path: Path, data: bytes, model: Mapping[str, Array]) -> None:
    """Check that a file has the values of a model.

    Args:
        path: the file, for messages.
        data: its content.
        model: arrays by structural name. The file may have further names for arrays that layers share.

    Raises:
        DataError: it is damaged, or has other arrays.
    """
    expected = "expected the arrays of the run's .npz file; export that with --format npz"
    try:
        # A list if the names are missing.
        found = dict(mx.nd.load_frombuffer(data))
    except (mx.base.MXNetError, TypeError, ValueError):
        raise DataError(f"{path}: it is damaged; {expected}") from None
    for name, array in model.items():
        if name not in found or found[name].asnumpy().tobytes() != arrays.view(array).tobytes():
            raise DataError(f"{path}: array {name!r} differs; {expected}")
