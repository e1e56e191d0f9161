"""The settings of this client, parsed once per process, whichever module needs them first."""

from functools import cache

from fedmx.settings import ClientSettings, load


@cache
def load_settings() -> ClientSettings:
    """Return the client's settings.

    Raises:
        SettingsError: with every problem of every setting, one line each.
    """
    return load(ClientSettings)
