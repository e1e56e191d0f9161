"""How both programs start and end: signals, one line for an error, and the documented exit code."""

import argparse
import contextlib
import logging
import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from types import FrameType
from typing import NoReturn

from fedmx import log
from fedmx.children import end_children, isolate_forks
from fedmx.errors import FederationError, SettingsError, StopSignal
from fedmx.log import event, logger, printable
from fedmx.memory import share_heap

_STOPPING = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
_AGAIN_AFTER_S = 0.02
# The signals for which `run_program` set a handler in this process.
_handled: list[int] = []
_WAKE_AFTER_S, _END_AFTER_S = 0.1, 4.5  # of a signal's arrival; both programs promise an end within 5 s


def run_program(main: Callable[[], None]) -> NoReturn:
    """Run `main` and leave the process with its exit code.

    A `FederationError` becomes a line for each of its problems; SIGTERM, SIGINT and SIGHUP (the terminal was
    closed) give 143, 130 and 129; any other exception is a bug and keeps its traceback (1), `SystemExit` too.
    """
    share_heap()
    isolate_forks(_STOPPING, (_stop, _ignore))
    _watch_signals()
    try:
        _handle_signals()
        code = _run(main)
        _ignore_signals()  # the end is decided
    except StopSignal as stop:
        code = stop.exit_code
        event("stopped by a signal", exit_code=code)
    logging.shutdown()
    with contextlib.suppress(OSError):  # whoever read the output may be gone
        sys.stdout.flush()
    end_children()
    # Threads of gRPC and MXNet may still run; interpreter shutdown under them can hang or crash.
    os._exit(code)


def restore_signal_handlers() -> list[int]:
    """Handle signals as `run_program` does again, after code of others that may handle them in its own way.

    Does nothing in a process that `run_program` did not start, such as one of Flower's engines.

    Returns:
        The signals that were handled in another way.
    """
    replaced = [number for number in _handled if signal.getsignal(number) not in (_stop, _ignore)]
    for number in replaced:
        signal.signal(number, _stop)
    return replaced


def _handle_signals() -> None:
    for number in _STOPPING:
        # nohup ignores SIGHUP, and it stays ignored.
        if number != signal.SIGHUP or signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, _stop)
            _handled.append(number)


def _run(main: Callable[[], None]) -> int:
    try:
        main()
    except FederationError as error:
        for line in str(error).splitlines():
            _say(line)
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


class _HelpWasShown(BaseException):
    """The arguments ask for `--help` or `--version`, which is all that the program does."""


class ArgumentParser(argparse.ArgumentParser):
    """Reads the arguments of a command; what is wrong with them is one line, as with settings."""

    def error(self, message: str) -> NoReturn:
        """Refuse the arguments.

        Raises:
            SettingsError: always.
        """
        raise SettingsError(f"{self.prog}: {printable(message)}; `{self.prog} --help` shows what there is")

    def exit(self, status: int = 0, message: str | None = None) -> NoReturn:
        """End the program with exit code 0: errors do not come here.

        Raises:
            _HelpWasShown: always.
        """
        raise _HelpWasShown(status, message)


def _watch_signals() -> None:
    """End in time although the main thread does not see a signal.

    Python's handlers run in the main thread alone: not while one call into a library lasts (an epoch of
    MXNet's engine), and not while it waits for a lock if the signal came to another thread.
    """
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    sys.unraisablehook = _stop_again
    signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
    threading.Thread(target=_end_in_time, args=(reader,), name="signals", daemon=True).start()


def _stop_again(ignored: "sys.UnraisableHookArgs") -> None:
    """Stop once more where the first time came in a destructor, whose exceptions Python throws away."""
    if not isinstance(ignored.exc_value, StopSignal):
        sys.__unraisablehook__(ignored)
        return
    number = ignored.exc_value.number
    signal.signal(number, _stop)
    again = threading.Timer(_AGAIN_AFTER_S, signal.pthread_kill, (threading.main_thread().ident, number))
    again.daemon = True
    again.start()


def _end_in_time(reader: int) -> None:
    number = os.read(reader, 1)[0]
    time.sleep(_WAKE_AFTER_S)
    signal.pthread_kill(threading.main_thread().ident or 0, number)  # ignored where the first one was seen
    time.sleep(_END_AFTER_S - _WAKE_AFTER_S)
    event("stopped by a signal", exit_code=128 + number)
    end_children()
    os._exit(128 + number)


def _stop(number: int, _frame: FrameType | None) -> None:
    _ignore_signals()  # one is enough; a second must not interrupt the clean end
    raise StopSignal(number)


def _ignore_signals() -> None:
    # Not SIG_IGN, which programs that are started from here would inherit.
    for number in _STOPPING:
        signal.signal(number, _ignore)


def _ignore(_number: int, _frame: FrameType | None) -> None:
    pass


def _say(line: str) -> None:
    if logger.handlers:
        log.error(line)
    else:  # settings could not be read, so there is no log yet
        print(line, file=sys.stderr)
