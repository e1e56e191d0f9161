"""TENSORBOARD: writes TensorBoard files of a run, see `server.trackers.tensorboard`."""

from fedmx.settings import ServerSettings
from server.record.catalog import TENSORBOARD
from server.reporting.reporter import Reporter


def make(settings: ServerSettings) -> Reporter | None:
    """Build the reporter where TENSORBOARD is on."""
    if settings.tensorboard == "off":
        return None
    from server.trackers.tensorboard import TensorBoard  # noqa: PLC0415 - imported only where it is on

    return TensorBoard(settings.runs_dir / TENSORBOARD, settings.best_metric.metric)
