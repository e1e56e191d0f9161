"""How a program starts and ends: stopped by signals, a line for each error, and the documented exit codes."""

import argparse
import contextlib
import io
import logging
import os
import sys
from collections.abc import Callable
from typing import NoReturn

from fedmx import log, signals
from fedmx.children import end_children
from fedmx.errors import FederationError, SettingsError, StopSignal
from fedmx.log import event, logger, printable
from fedmx.memory import share_heap


def run_program(main: Callable[[], None]) -> NoReturn:
    """Run `main` and leave the process with its exit code.

    A `FederationError` becomes a line for each of its problems. SIGTERM, SIGINT and SIGHUP (the terminal was
    closed) lead to 143, 130 and 129. Any other exception is a bug, keeps its traceback and leads to 1, and so
    does `SystemExit`.
    """
    share_heap()
    # Names may have characters that the terminal's encoding does not have.
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")
    try:
        signals.install_handlers()
        code = _run(main)
        signals.ignore()
    except StopSignal as stop:
        code = stop.exit_code
        event("stopped by a signal", exit_code=code)
    logging.shutdown()
    # The reader of the output may have ended.
    with contextlib.suppress(OSError):
        sys.stdout.flush()
    end_children()
    # Threads of gRPC and MXNet may still run; interpreter shutdown under them can hang or crash.
    os._exit(code)


def _run(main: Callable[[], None]) -> int:
    try:
        main()
    except FederationError as error:
        for line in str(error).splitlines():
            _report(line)
        return error.exit_code
    except StopSignal:
        raise
    except _HelpWasShown:
        return 0
    # `sys.exit(0)` too: exit code 0 means that `main` has done its work.
    except BaseException:  # noqa: BLE001 - the edge of the program: a bug is shown whole, and is exit code 1
        logger.exception("a bug in fedmx, please report it with these lines")
        return 1
    return 0


def _report(line: str) -> None:
    # Invalid settings are found before the log is configured.
    if logger.handlers:
        log.error(line)
    else:
        print(line, file=sys.stderr)


class _HelpWasShown(BaseException):
    """The arguments are `--help` or `--version`, which is all that the program does."""


class ArgumentParser(argparse.ArgumentParser):
    """Parser of a command's arguments that reports an error in one line, as settings do."""

    def error(self, message: str) -> NoReturn:
        """Reject the arguments.

        Raises:
            SettingsError: always.
        """
        raise SettingsError(f"{self.prog}: {printable(message)}; see `{self.prog} --help`")

    def exit(self, status: int = 0, message: str | None = None) -> NoReturn:
        """End the program with exit code 0: errors do not come here.

        Raises:
            _HelpWasShown: always.
        """
        raise _HelpWasShown(status, message)
