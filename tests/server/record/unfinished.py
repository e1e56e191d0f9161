"""An unfinished run on disk, and the settings of the server that may resume it."""

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np

from fedmx.settings import ServerSettings
from server.record.run import RunRecord
from server.report import Outcome
from tests.server.nodes import pack
from tests.server.reports import make_report

MODEL = pack({"w": np.arange(3, dtype=np.float32)})


def make_settings(folder: Path, **given: Any) -> ServerSettings:
    return dataclasses.replace(ServerSettings(runs_dir=folder), **given)


def make_run(settings: ServerSettings, rounds: int, status: str = "") -> RunRecord:
    """Leave a run on disk as it is after so many rounds."""
    record = RunRecord.begin("one", settings)
    for number in range(1, rounds + 1):
        record.keep(make_report(number, 1 / number), MODEL, {})
    if status:
        record.end(Outcome(status, reason="because", exit_code=4))
    return record
