"""Networks of gluon's model zoo with other classes, and files of pretrained weights."""

import fnmatch
import hashlib
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from client import model
from client.mx import gluon, mx
from fedmx.errors import DataError, SettingsError
from fedmx.files import disk_errors
from fedmx.listing import list_names
from fedmx.log import event, printable

NEW_LAYERS = ("output.*",)
"""The last layer of the model zoo's networks, which depends on the classes."""

Weights = Mapping[str, mx.nd.NDArray]

_MOST_SHOWN = 3
# `export` and MXNet's older checkpoints write the kind of an array before its name.
_KINDS = ("arg:", "aux:")


def build_network(name: str, classes: int) -> gluon.HybridBlock:
    """Build a network of the model zoo, not initialized.

    Raises:
        SettingsError: there is no such network.
    """
    try:
        return gluon.model_zoo.vision.get_model(name, classes=classes)
    except ValueError:
        raise SettingsError(
            f"TASK_OPTIONS: network={printable(repr(name))}: not in gluon.model_zoo.vision; expected one such"
            " as mobilenet0.25 or resnet18_v2"
        ) from None


def find_weights(data_dir: Path, name: str) -> Path:
    """Return the path of a file of weights that the server's options name.

    Raises:
        SettingsError: the name has folders: a server must not choose files outside of DATA_DIR.
    """
    if Path(name).name != name:
        raise SettingsError(
            f"TASK_OPTIONS: weights={printable(repr(name))}: expected the name of a file in DATA_DIR, without"
            " folders"
        )
    return data_dir / name


def load_weights(net: gluon.Block, path: Path | str, new: Sequence[str] = NEW_LAYERS) -> None:
    """Set a network's parameters from a file, except those of new layers that do not fit.

    The file may come from `save_parameters` of such a network or of its `features`, from `save_params` of an
    older MXNet, or be the `model.params` of a run.

    Args:
        net: not initialized; its shapes may be unknown.
        path: the file.
        new: patterns of `fnmatch` for the names of parameters that may be missing in the file, or may have
            another shape there.

    Raises:
        DataError: the file cannot be read, or an array that is not of a new layer is missing, has another
            shape, or does not belong to the network.
    """
    path = Path(path)
    if not path.exists():
        raise DataError(f"{path}: not found; expected the file of weights, the same as at the other sites")
    with disk_errors(path, reads=True):
        data = path.read_bytes()
    parameters = model.name_parameters(net)
    weights = _rename(_parse(path, data), net, parameters)
    missing = [name for name in parameters if name not in weights]
    _check(path, "has no arrays", _exclude(missing, new))
    _check(
        path, "has arrays that the network does not have:", _exclude(weights.keys() - parameters.keys(), new)
    )
    others = [name for name, p in parameters.items() if name in weights and not _fits(p, weights[name])]
    _check(path, "has other shapes for", _exclude(others, new))
    drawn = {*missing, *others}
    for name, parameter in parameters.items():
        if name not in drawn:
            _set(parameter, weights[name])
    loaded = len(parameters) - len(drawn)
    # Sites whose files differ can compare these lines.
    event("pretrained weights", file=path, sha256=hashlib.sha256(data).hexdigest(), loaded=loaded)


def _parse(path: Path, data: bytes) -> Weights:
    try:
        # A list if the names are missing.
        found = dict(mx.nd.load_frombuffer(data))
    except (mx.base.MXNetError, TypeError, ValueError):
        raise DataError(
            f"{path}: not a whole file of named arrays; expected one that save_parameters() wrote"
        ) from None
    for kind in _KINDS:
        found = {name.removeprefix(kind): array for name, array in found.items()}
    return found


def _rename(found: Weights, net: gluon.Block, parameters: model.Parameters) -> Weights:
    """Return the arrays by the network's structural names, whichever names the file has."""
    inner = [name for name in parameters if name.startswith("features.")]
    of_features = {name.removeprefix("features."): name for name in inner}
    old = {parameter.name.removeprefix(net.prefix): name for name, parameter in parameters.items()}
    namings = ({name: name for name in parameters}, of_features, old)
    known = max(namings, key=lambda naming: len(found.keys() & naming.keys()))
    return {known.get(name, name): array for name, array in found.items()}


def _exclude(names: Iterable[str], patterns: Sequence[str]) -> list[str]:
    return sorted(name for name in names if not any(fnmatch.fnmatch(name, pattern) for pattern in patterns))


def _check(path: Path, problem: str, names: Sequence[str]) -> None:
    if names:
        listed = list_names(names, _MOST_SHOWN)
        raise DataError(f"{path}: {problem} {listed}; expected the weights of the same network")


def _fits(parameter: gluon.Parameter, array: mx.nd.NDArray) -> bool:
    """Whether an array has a parameter's shape, in which unknown sizes are 0 or -1."""
    shape = parameter.shape or array.shape
    sizes = zip(shape, array.shape, strict=False)
    return len(shape) == array.ndim and all(size in (0, -1, found) for size, found in sizes)


def _set(parameter: gluon.Parameter, array: mx.nd.NDArray) -> None:
    parameter.shape = array.shape
    parameter.initialize(mx.init.Zero(), mx.cpu(), force_reinit=True)
    parameter.set_data(array.astype(model.find_dtype(parameter)))
