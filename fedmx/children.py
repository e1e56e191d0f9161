"""Processes that a program starts: signals end them as they end any process, and they end with the program.

A task may load its data with `multiprocessing.Pool`, with the workers of MXNet's `DataLoader` or with
`os.fork`. A forked process is a copy of the program. Without the measures below it would keep the program's
signal handlers and the descriptor through which signals wake the program, so that a signal to a worker would
end the program.
"""

import ctypes
import multiprocessing
import os
import signal
import sys
import threading
import traceback
from collections.abc import Collection, Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import Any, NoReturn

_PR_SET_PDEATHSIG = 1

# Per thread: the state before the fork that it is making.
_fork = threading.local()


def isolate_forks(numbers: Collection[int], handlers: Collection[Any]) -> None:
    """Let processes that are forked from now on end by signals as any process does, and end with this one.

    Args:
        numbers: the signals that the program handles.
        handlers: the program's own. A child keeps others: `DataLoader` ignores SIGINT while it forks.
    """
    # Not in the child, because another thread may have held the loader's lock at the fork.
    _load_libc()

    def block() -> None:
        _fork.mask = signal.pthread_sigmask(signal.SIG_BLOCK, numbers)
        _fork.parent = os.getpid()
        _fork.is_main = threading.current_thread() is threading.main_thread()

    def unblock() -> None:
        signal.pthread_sigmask(signal.SIG_SETMASK, _fork.mask)

    def begin() -> None:
        signal.set_wakeup_fd(-1)
        for number in numbers:
            if signal.getsignal(number) in handlers:
                signal.signal(number, signal.SIG_DFL)
        # To the kernel the parent is the thread that forked, and only the main thread lasts as long as
        # its process.
        if _fork.is_main:
            end_with_parent(_fork.parent)
        unblock()

    # A signal to a child that was just forked stays blocked until the child has replaced the handlers.
    os.register_at_fork(before=block, after_in_parent=unblock, after_in_child=begin)


@contextmanager
def ending_forks() -> Iterator[None]:
    """End a process that was forked in the block when it leaves the block: it is not the program."""
    program = os.getpid()
    error: BaseException | None = None
    try:
        yield
    except BaseException as raised:
        if os.getpid() == program:
            raise
        error = raised
    if os.getpid() != program:
        _end_as_python_does(error)


def end_with_parent(parent: int, number: int = signal.SIGKILL) -> None:
    """Request that the kernel signal this process when the thread that started it ends.

    Args:
        parent: the process of that thread.
        number: the signal to send.
    """
    if sys.platform != "linux":
        return
    _load_libc().prctl(_PR_SET_PDEATHSIG, number)
    # The parent ended before the request took effect.
    if os.getppid() != parent:
        os.kill(os.getpid(), number)


def end_children() -> None:
    """Kill the workers of `multiprocessing`, and send SIGTERM to the other child processes."""
    for worker in multiprocessing.active_children():
        worker.kill()
    for pid in _find_children():
        with suppress(OSError):
            os.kill(pid, signal.SIGTERM)


def kill_session(leader: int) -> None:
    """Kill the processes of the session that a process began, which may have ended."""
    for pid, _, session in _list_processes():
        if session == leader:
            with suppress(OSError):
                os.kill(pid, signal.SIGKILL)


def _end_as_python_does(error: BaseException | None) -> NoReturn:
    code = 0
    if isinstance(error, SystemExit):
        code = error.code if isinstance(error.code, int) else int(error.code is not None)
        if isinstance(error.code, str):
            print(error.code, file=sys.stderr)
    elif error is not None:
        code = 1
        traceback.print_exception(error)
    sys.stdout.flush()
    os._exit(code & 0xFF)


def _find_children() -> list[int]:
    return [pid for pid, parent, _ in _list_processes() if parent == os.getpid()]


def _list_processes() -> Iterator[tuple[int, int, int]]:
    """Yield the id, the parent and the session of each process that has not ended."""
    for path in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):
            # The program's name stands in parentheses and may contain any character.
            state, parent, _, session = path.read_text().rpartition(")")[2].split()[:4]
            if state != "Z":
                yield int(path.parent.name), int(parent), int(session)


@cache
def _load_libc() -> ctypes.CDLL:
    return ctypes.CDLL(None)
