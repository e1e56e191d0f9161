"""TENSORBOARD: files of a run for TensorBoard, see `server.trackers.tensorboard`."""

from fedmx.settings import ServerSettings
from server.reporting.reporter import Reporter

FOLDER = "tensorboard"
"""The folder of all runs' files in RUNS_DIR."""


def make(settings: ServerSettings) -> Reporter | None:
    """Build the reporter where TENSORBOARD is on."""
    if settings.tensorboard == "off":
        return None
    from server.trackers.tensorboard import TensorBoard  # noqa: PLC0415 - imported only where it is on

    return TensorBoard(settings.runs_dir / FOLDER, settings.best_metric.metric)
