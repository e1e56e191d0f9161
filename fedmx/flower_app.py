"""What both apps need on Flower's engines: the versions that they are made for, and errors of one line.

An engine loads an app from the FAB into a process with the packages of its own environment.
"""

import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import metadata

from fedmx import FLOWER_VERSION, __version__, log
from fedmx.errors import FederationError, SettingsError
from fedmx.log import logger

# How Flower's last line begins, which explains the exit code of an exception.
_EXIT_LINE = "Exit Code:"


def check_versions() -> None:
    """Check that this process has the packages for which the app is made.

    Raises:
        SettingsError: another version of Flower, or of fedmx, is installed here.
    """
    flower = metadata.version("flwr")
    if flower != FLOWER_VERSION:
        raise SettingsError(
            f"flwr {flower} is installed in this process; expected flwr {FLOWER_VERSION}, for which the app"
            f" fedmx {__version__} is made"
        )
    installed = _find_installed()
    if installed not in (None, __version__):
        raise SettingsError(
            f"fedmx {installed} is installed in this process; expected fedmx {__version__}, as the app that"
            " `flwr run` has sent"
        )


@contextmanager
def one_line_errors() -> Iterator[None]:
    """Log the lines of an error of this project, and keep Flower from adding its traceback."""
    try:
        yield
    except FederationError as error:
        for line in str(error).splitlines():
            _report(line)
        logging.getLogger("flwr").addFilter(_Explained(error))
        raise


class _Explained(logging.Filter):
    """Leaves out Flower's lines about an error that has been logged."""

    def __init__(self, error: FederationError) -> None:
        super().__init__()
        self._error = error

    def filter(self, record: logging.LogRecord) -> bool:
        """Return whether a line is about something else."""
        found = record.exc_info[1] if record.exc_info else None
        return found is not self._error and not record.getMessage().startswith(_EXIT_LINE)


def _find_installed() -> str | None:
    """Return the version of the installed package; None if there is none, as in a checkout or an image."""
    try:
        return metadata.version("fedmx")
    except metadata.PackageNotFoundError:
        return None


def _report(line: str) -> None:
    # Invalid settings are found before the log is configured.
    if logger.handlers:
        log.error(line)
    else:
        print(line, file=sys.stderr)
