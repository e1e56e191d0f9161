"""Reads a finished run from disk, for the commands that use its model. Does not need MXNet."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from flwr.app import Array

from client import npz
from fedmx import arrays
from fedmx.errors import DataError
from fedmx.fields import parse
from fedmx.files import disk_errors
from fedmx.hyperparameters import Hyperparameters
from fedmx.listing import list_names
from fedmx.run_state import INTERRUPTED, RUNNING, has_server
from fedmx.schema import Schema
from fedmx.settings import ModelSettings, load


@dataclass(frozen=True)
class SavedRun:
    """A run on disk.

    Attributes:
        folder: the run's folder.
        facts: the content of `run.json`.
        is_best: whether the model of the best round is used instead of the last round's.
    """

    folder: Path
    facts: Mapping[str, Any]
    is_best: bool = False

    @property
    def task(self) -> str:
        """Name of its task's module."""
        return str(self.facts["description"]["task"])

    @property
    def round(self) -> int:
        """Number of the round that produced the model."""
        number: int = self.facts["best"]["round"] if self.is_best else self.facts["rounds"]
        return number

    @property
    def hyperparameters(self) -> Hyperparameters:
        """The hyperparameters of its nodes; defaults for those that its version of fedmx did not have."""
        recorded = self.facts["settings"]
        texts = {
            name: json.dumps(value) if isinstance(value, Mapping) else str(value)
            for name, value in recorded.items()
        }
        return parse(Hyperparameters, texts)[0]

    @property
    def schema(self) -> Schema | None:
        """What its sites agreed on; None if they need not.

        Raises:
            DataError: the record is damaged.
        """
        found = self.facts.get("schema")
        try:
            return Schema.from_json(json.dumps(found)) if found else None
        except ValueError as error:
            path = self.folder / "run.json"
            raise DataError(
                f"{path}: its schema cannot be read: {error}; expected the record of a run"
            ) from None

    def find_file(self, suffix: str) -> Path:
        """Return the path of the model's file, `.npz` or `.params`.

        Raises:
            DataError: the run is not finished, or the file does not exist.
        """
        path = self.folder / f"{'best' if self.is_best else 'model'}{suffix}"
        # A server that dies while it writes the models may have completed this one.
        if self.facts["status"] != "finished":
            is_running = _is_running(self.folder, self.facts)
            is_dead = self.facts["status"] == RUNNING and not is_running
            status = INTERRUPTED if is_dead else self.facts["status"]
            advice = "wait for its end" if is_running else "start its server again to resume this one"
            raise DataError(
                f"{path}: the run is {status}; expected a finished one{_suggest_finished()}: {advice}"
            )
        if path.is_file():
            return path
        if self.is_best:
            raise DataError(f"{path}: not found: the run has no best model; leave out --best")
        raise DataError(f"{path}: not found; expected the file that the finished run wrote")

    def read_arrays(self) -> dict[str, Array]:
        """Return the model's arrays by structural name, in the model's order.

        Raises:
            DataError: the file is missing or damaged.
        """
        path = self.find_file(".npz")
        model = npz.read(path)
        digest = arrays.sha256(model)
        expected = self.facts.get("best_sha256" if self.is_best else "model_sha256")
        if digest != expected:
            raise DataError(f"{path}: its SHA-256 is {digest}; expected {expected} from run.json")
        return model


def find_run(name: str | Path, *, is_best: bool = False) -> SavedRun:
    """Return the run of a folder, or a run in RUNS_DIR.

    Args:
        name: a folder's path, a run's id or the beginning of one, `latest`, or the RUN_NAME of one run.
        is_best: whether the model of the best round is wanted.

    Raises:
        DataError: no such run exists, or its record cannot be read.
        SettingsError: RUNS_DIR is not valid.
    """
    folder = _find_folder(name)
    path = folder / "run.json"
    with disk_errors(path, reads=True):
        text = path.read_bytes()
    try:
        facts = json.loads(text)
        # The properties above and the commands read these entries.
        str(facts["description"]["task"] if facts["description"] else "")
        dict(facts["settings"])
        str(facts["status"])
    except (ValueError, KeyError, TypeError) as error:
        raise DataError(f"{path}: cannot be read: {error!r}; expected the record of a run") from None
    if not facts["description"]:
        happened = "has not begun" if _is_running(folder, facts) else "ended before"
        raise DataError(
            f"{path}: the run {happened} its first round; expected one with a model{_suggest_finished()}"
        )
    # `latest` may point to another run by the time of the next read.
    return SavedRun(folder.resolve(), facts, is_best)


def _is_running(folder: Path, facts: Mapping[str, Any]) -> bool:
    """Return whether a server may be working on a run. A killed server leaves the status `running` behind."""
    return facts["status"] == RUNNING and has_server(folder.resolve().parent)


def _suggest_finished() -> str:
    """Return the newest finished run, for an error message; empty if there is none."""
    models = sorted(load(ModelSettings).runs_dir.glob("*/model.npz"), reverse=True)
    folders = (path.parent for path in models if not path.parent.is_symlink())
    found = next((folder.name for folder in folders if _is_finished(folder)), "")
    return f", such as {found}" if found else ""


def _is_finished(folder: Path) -> bool:
    try:
        facts = json.loads((folder / "run.json").read_bytes())
    except (OSError, ValueError, RecursionError):
        return False
    return isinstance(facts, dict) and facts.get("status") == "finished"


def _find_folder(name: str | Path) -> Path:
    runs_dir = load(ModelSettings).runs_dir
    for folder in (Path(name), runs_dir / name):
        if (folder / "run.json").exists():
            return folder
    folders = sorted((path.parent for path in runs_dir.glob("*/run.json")), reverse=True)
    folders = [folder for folder in folders if not folder.is_symlink()]
    found = [folder for folder in folders if _read_name(folder) == str(name)]
    found = found or [folder for folder in folders if str(name) and folder.name.startswith(str(name))]
    if len(found) == 1:
        return found[0]
    if found:
        listed = list_names(folder.name for folder in found)
        raise DataError(f"{name}: matches {len(found)} runs; expected one of {listed}")
    listed = f", such as {folders[0].name}" if folders else ", which has no runs"
    raise DataError(
        f"{name}: not a run; expected the folder of a run, or the id or the name of one in"
        f" RUNS_DIR={runs_dir}{listed}"
    )


def _read_name(folder: Path) -> str | None:
    """Return the RUN_NAME of a run; None if it cannot be read or there is none."""
    try:
        return str(json.loads((folder / "run.json").read_bytes())["settings"]["RUN_NAME"]) or None
    except (OSError, ValueError, LookupError, TypeError, RecursionError):
        return None
