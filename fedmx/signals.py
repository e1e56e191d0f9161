"""Signals that stop a program: they raise an exception in its main thread, or end it within five seconds.

Python runs signal handlers in the main thread alone, between two of its bytecodes. Three things keep it from
seeing a signal, and each has an answer here:

- It is inside one long call into a library, such as an epoch of MXNet's engine. Nothing can interrupt that:
  the watching thread ends the process when the time is over.
- It waits for a lock, and the kernel delivered the signal to another thread. The watching thread sends the
  signal once more, to the main thread, whose wait that interrupts.
- The handler ran inside a destructor, and Python discards exceptions of destructors. The hook for such
  exceptions sends the signal once more.
"""

import os
import signal
import sys
import threading
import time
from types import FrameType

from fedmx.children import end_children, isolate_forks
from fedmx.errors import StopSignal
from fedmx.log import event

_STOPPING = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
# After the signal: when it is sent to the main thread once more, and when the process ends at the latest. The
# programs promise an end within five seconds.
_RESEND_AFTER_S = 0.1
_END_AFTER_S = 4.5
# After an exception in a destructor, by when the destructor has returned.
_RAISE_AGAIN_AFTER_S = 0.02

# The signals for which this process has handlers of this module.
_handled: list[int] = []


def install_handlers() -> None:
    """Have SIGTERM, SIGINT and SIGHUP raise `StopSignal` in the main thread; forked processes do not."""
    isolate_forks(_STOPPING, (_stop, _ignore))
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    # The handler in C, which runs in any thread and at once, writes the signal's number to this descriptor.
    signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
    threading.Thread(target=_watch, args=(reader,), name="signals", daemon=True).start()
    sys.unraisablehook = _stop_after_destructor
    for number in _STOPPING:
        # `nohup` starts a program with SIGHUP ignored, which must stay so.
        if number != signal.SIGHUP or signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, _stop)
            _handled.append(number)


def restore_handlers() -> list[int]:
    """Install the handlers again after code of others, such as a task's, that may have replaced them.

    Does nothing in a process in which they were not installed, such as one of Flower's engines.

    Returns:
        The signals whose handlers had been replaced.
    """
    replaced = [number for number in _handled if signal.getsignal(number) not in (_stop, _ignore)]
    for number in replaced:
        signal.signal(number, _stop)
    return replaced


def ignore() -> None:
    """Ignore these signals from now on: the program ends already."""
    # Not by SIG_IGN, which programs that are started from here would inherit.
    for number in _STOPPING:
        signal.signal(number, _ignore)


def _stop(number: int, _frame: FrameType | None) -> None:
    # A second signal must not interrupt the clean end.
    ignore()
    raise StopSignal(number)


def _ignore(_number: int, _frame: FrameType | None) -> None:
    pass


def _watch(reader: int) -> None:
    """Wait for the first signal, and end the process if the main thread does not."""
    number = os.read(reader, 1)[0]
    time.sleep(_RESEND_AFTER_S)
    # Ignored if the main thread has seen the signal by now.
    signal.pthread_kill(_main_thread(), number)
    time.sleep(_END_AFTER_S - _RESEND_AFTER_S)
    event("stopped by a signal", exit_code=128 + number)
    end_children()
    os._exit(128 + number)


def _stop_after_destructor(ignored: "sys.UnraisableHookArgs") -> None:
    if not isinstance(ignored.exc_value, StopSignal):
        sys.__unraisablehook__(ignored)
        return
    number = ignored.exc_value.number
    signal.signal(number, _stop)
    resend = threading.Timer(_RAISE_AGAIN_AFTER_S, signal.pthread_kill, (_main_thread(), number))
    resend.daemon = True
    resend.start()


def _main_thread() -> int:
    return threading.main_thread().ident or 0
