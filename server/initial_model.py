"""INITIAL_MODEL: the arrays that a run starts from, instead of those that its nodes build."""

import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from flwr.app import Array, ArrayRecord

from fedmx import arrays
from fedmx.errors import SettingsError
from server import admission
from server.layout import Layout
from server.record import mxnet_params, npz
from server.record.catalog import list_runs

_EXPECTED = "expected the folder of a finished run, or a file of arrays: .npz of numpy or .params of MXNet"
# Bytes that a file may have in addition to its arrays: headers and names.
_OVERHEAD = 1 << 26
# An error lists this many names of arrays.
_SHOWN = 3

Arrays = Mapping[str, Array]


@dataclass(frozen=True)
class InitialModel:
    """A file with a model.

    Attributes:
        given: INITIAL_MODEL, for messages.
        path: the file, absolute and without links, since `runs/latest` will soon point to another run.
        sha256: digest of its arrays, computed like `model_sha256` of a run.
    """

    given: Path
    path: Path
    sha256: str

    @classmethod
    def find(cls, given: Path, limit: int, path: Path | None = None) -> "InitialModel":
        """Find the file and compute its digest.

        Args:
            given: INITIAL_MODEL.
            limit: MAX_MODEL_BYTES.
            path: the file, if it is known already.

        Raises:
            SettingsError: the file cannot be read.
        """
        path = path or _locate(given)
        return cls(given, path, arrays.sha256(_read(given, path, limit)))

    def load(self, layout: Layout, limit: int) -> ArrayRecord:
        """Return the arrays in the model's order.

        Args:
            layout: the model of the run's nodes.
            limit: MAX_MODEL_BYTES.

        Raises:
            SettingsError: they are not those of the model, or the file has changed.
        """
        found = _read(self.given, self.path, limit)
        if arrays.sha256(found) != self.sha256:
            raise SettingsError(
                f"INITIAL_MODEL={self.given}: {self.path} has changed since the server started; expected the"
                " same file until round 1: start the server again"
            )
        if problem := _find_problem(found, layout):
            raise SettingsError(f"INITIAL_MODEL={self.given}: {problem}")
        return arrays.make_record({name: found[name] for name in layout.arrays})


def _locate(given: Path) -> Path:
    """Return the file that INITIAL_MODEL names.

    Raises:
        SettingsError: it is the folder of something other than a finished run, or cannot be found.
    """
    try:
        path = given.resolve()
        is_folder = path.is_dir()
    # Python raises RuntimeError for a link to itself.
    except (OSError, RuntimeError) as error:
        reason = getattr(error, "strerror", None) or "it is a link to itself"
        raise SettingsError(f"INITIAL_MODEL={given}: cannot be read: {reason}; {_EXPECTED}") from None
    if not is_folder:
        return path
    model = path / "model.npz"
    if not model.is_file():
        raise SettingsError(
            f"INITIAL_MODEL={given}: the folder has no {model.name}; {_EXPECTED}{_suggest_finished(path)}"
        )
    return model


def _suggest_finished(folder: Path) -> str:
    """Return the newest finished run, if the folder is a run, for an error message; else an empty text."""
    try:
        runs = list_runs(folder.parent) if (folder / "run.json").exists() else []
    except OSError:
        return ""
    found = [run.run_id for run in runs if run.status == "finished"]
    return f", such as {folder.parent / found[0]}" if found else ""


def _read(given: Path, path: Path, limit: int) -> Arrays:
    try:
        # A pipe could be read only once, and some devices without end.
        if path.exists() and not path.is_file():
            raise SettingsError(f"INITIAL_MODEL={given}: it is not a file; {_EXPECTED}")
        if (size := path.stat().st_size) > limit + _OVERHEAD:
            raise SettingsError(
                f"INITIAL_MODEL={given}: {size} bytes; expected at most MAX_MODEL_BYTES={limit}"
            )
        data = path.read_bytes()
    except OSError as error:
        raise SettingsError(f"INITIAL_MODEL={given}: cannot be read: {error.strerror}; {_EXPECTED}") from None
    try:
        return npz.parse(data, limit) if zipfile.is_zipfile(path) else mxnet_params.parse(data)
    except ValueError as error:
        raise SettingsError(f"INITIAL_MODEL={given}: {error}; {_EXPECTED}") from None


def _find_problem(found: Arrays, layout: Layout) -> str | None:
    """Return why arrays are not those of a model; None if they are."""
    missing = [name for name in layout.arrays if name not in found]
    # MXNet writes an array that two layers share once for each layer.
    known = {_identify(found[name]) for name in layout.arrays if name in found}
    extra = [name for name in found if name not in layout.arrays and _identify(found[name]) not in known]
    if missing or extra:
        differences = [
            f"{what} {_list(names)}" for what, names in (("lacks", missing), ("has", extra)) if names
        ]
        expected = f"expected the {len(layout.arrays)} arrays of the nodes' model: {_list([*layout.arrays])}"
        return f"{' and '.join(differences)}; {expected}"
    return admission.find_problem_in_arrays({name: found[name] for name in layout.arrays}, layout.arrays)


def _identify(array: Array) -> str:
    return arrays.sha256({"": array})


def _list(names: list[str]) -> str:
    shown = ", ".join(map(repr, names[:_SHOWN]))
    return f"{shown} and {len(names) - _SHOWN} more" if len(names) > _SHOWN else shown
