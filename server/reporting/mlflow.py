"""MLFLOW_TRACKING_URI: reports a run to an MLflow server, see `server.trackers.mlflow`."""

from fedmx.settings import ServerSettings
from server.reporting.reporter import Reporter


def make(settings: ServerSettings) -> Reporter | None:
    """Build the reporter where MLFLOW_TRACKING_URI is set."""
    if not settings.mlflow_tracking_uri:
        return None
    from server.trackers.mlflow import MLflow  # noqa: PLC0415 - imported only where it is on
    from server.trackers.mlflow_api import Tracker  # noqa: PLC0415 - as above

    tracker = Tracker.build(
        settings.mlflow_tracking_uri,
        settings.mlflow_tracking_username,
        settings.mlflow_tracking_password,
        settings.mlflow_tracking_token,
    )
    return MLflow(tracker, settings.mlflow_experiment_name)
