"""ON_END_COMMAND and ON_END_WEBHOOK: notifications that a run has ended, see `server.trackers.on_end`."""

from fedmx.settings import ServerSettings
from server.reporting.reporter import Reporter


def make(settings: ServerSettings) -> Reporter | None:
    """Build the reporter where one of its settings is set."""
    if not settings.on_end_command and not settings.on_end_webhook:
        return None
    from server.trackers.on_end import OnEnd  # noqa: PLC0415 - imported only where it is on

    return OnEnd(settings.on_end_command, settings.on_end_webhook)
