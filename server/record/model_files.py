"""The models that a run writes, each for numpy and for MXNet: the final one, and that of the best round."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from flwr.app import Array

from fedmx.errors import DataError
from fedmx.log import warn
from server.record import checkpoint, mxnet_params, npz

Model = Mapping[str, Array]


def save(folder: Path, name: str, model: Model) -> Path:
    """Write a model, and return the path of its file for numpy.

    Args:
        folder: the run's folder.
        name: name of both files, without suffix.
        model: arrays by structural name, in the model's order.

    Raises:
        DataError: it cannot be written.
    """
    path = folder / f"{name}.npz"
    npz.save(npz.members_of(model), path)
    mxnet_params.save(model, folder / f"{name}.params")
    return path


def find_best(folder: Path, best: Mapping[str, Any] | None, newest: int, final: Model) -> Model | None:
    """Return the model of the best round; None if there is none, or its checkpoint cannot be read.

    Args:
        folder: the run's folder.
        best: round, metric and value of the best round; None if no round is the best.
        newest: number of the last round.
        final: the model of the last round.
    """
    if best is None:
        return None
    if best["round"] == newest:
        return final
    try:
        return checkpoint.load(checkpoint.path_of(folder / checkpoint.FOLDER, best["round"])).arrays
    except (ValueError, DataError) as error:
        # The final model is worth more than a run that fails at its end.
        warn("the best model is lost", round=best["round"], reason=error)
        return None
