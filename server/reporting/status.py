"""The status server: a page, JSON and metrics of the run at STATUS_ADDRESS."""

from fedmx.settings import ServerSettings
from server.reporting.reporter import Reporter


def make(settings: ServerSettings) -> Reporter | None:
    """Start the status server, if STATUS_ADDRESS asks for it.

    Raises:
        SettingsError: the address cannot be listened on.
    """
    if settings.status_address is None:
        return None
    from server.status.server import StatusServer  # noqa: PLC0415 - imported only where it is on

    return StatusServer(settings, settings.status_address)
