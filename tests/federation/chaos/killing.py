"""Exact kills: a process ends by SIGKILL before, in or after one call of one of its functions.

Functions are named as `module:name`, and wrapped wherever the program has imported them.
"""

import contextlib
import functools
import importlib
import inspect
import os
import signal
import socket
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

PROGRAMS = ("client.", "fedmx.", "server.")


@dataclass(frozen=True)
class Kill:
    """Where a process dies.

    Attributes:
        when: `before` or `after` the call; `halved`, for what is called with an open file: before it, once
            half of what was written is lost; a number, for a generator: when so many items were taken.
        function: which.
        call: which of its calls.
        about: only calls with this text count, in the texts, numbers and open files' names among their
            arguments.
    """

    when: str | int
    function: str
    call: int = 1
    about: str = ""

    def __str__(self) -> str:
        place = self.when if isinstance(self.when, str) else f"after {self.when} items of"
        about = f" about {self.about}" if self.about else ""
        return f"{place} call {self.call} of {self.function}{about}"

    def arm(self) -> None:
        """Make this process die there."""
        calls = 0

        def is_it(arguments: tuple[Any, ...]) -> bool:
            nonlocal calls
            calls += self.about in describe_arguments(arguments)
            return calls == self.call and self.about in describe_arguments(arguments)

        def wrap(function: Callable[..., Any]) -> Callable[..., Any]:
            return (_wrap_items if isinstance(self.when, int) else _wrap)(function, self, is_it)

        replace(self.function, wrap)


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def hang_up() -> None:
    """Break every TCP connection that this process has."""
    for entry in Path("/proc/self/fd").iterdir():
        with contextlib.suppress(OSError), socket.socket(fileno=os.dup(int(entry.name))) as connection:
            if connection.family in (socket.AF_INET, socket.AF_INET6) and connection.getpeername():
                connection.shutdown(socket.SHUT_RDWR)
    # Both sides notice within this time.
    time.sleep(0.2)


def halve(descriptor: int) -> None:
    """Lose half of an open file: of its last line, where it grows by lines."""
    path = Path(f"/proc/self/fd/{descriptor}").readlink()
    data = path.read_bytes()
    begin = data.rstrip(b"\n").rfind(b"\n") + 1 if path.suffix == ".jsonl" else 0
    os.truncate(descriptor, (begin + len(data)) // 2)


def note_calls(function: str, path: Path, describe: Callable[..., str]) -> None:
    """Add a line to a file whenever a function begins: the text that `describe` makes of its arguments."""

    def wrap(called: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(called)
        def noted(*args: Any, **kwargs: Any) -> Any:
            with path.open("a") as file:
                file.write(describe(*args) + "\n")
            return called(*args, **kwargs)

        return noted

    replace(function, wrap)


def replace(function: str, wrap: Callable[[Callable[..., Any]], Callable[..., Any]]) -> None:
    """Put another function in a function's place, also where it was imported by name."""
    module_name, _, name = function.partition(":")
    owner = importlib.import_module(module_name)
    *classes, name = name.split(".")
    for part in classes:
        owner = getattr(owner, part)
    original = getattr(owner, name)
    wrapped = wrap(original)
    setattr(owner, name, wrapped)
    for module in [module for key, module in sys.modules.items() if key.startswith(PROGRAMS)]:
        for key, value in list(vars(module).items()):
            if value is original:
                setattr(module, key, wrapped)


def describe_arguments(arguments: tuple[Any, ...]) -> str:
    """Return the texts, numbers and open files' names among a call's arguments."""
    texts = []
    for argument in arguments:
        if isinstance(argument, int):
            link = Path(f"/proc/self/fd/{argument}")
            texts.append(f"{argument} {link.readlink()}" if link.is_symlink() else str(argument))
        elif isinstance(argument, str | Path):
            texts.append(str(argument))
    return " ".join(texts)


def _wrap(
    function: Callable[..., Any], kill: Kill, is_it: Callable[[tuple[Any, ...]], bool]
) -> Callable[..., Any]:
    @functools.wraps(function)
    def wrapped(*args: Any, **kwargs: Any) -> Any:
        if not is_it(args):
            return function(*args, **kwargs)
        if kill.when == "halved":
            halve(next(argument for argument in args if isinstance(argument, int)))
        if kill.when == "after":
            function(*args, **kwargs)
        die()
        return None

    return wrapped


def _wrap_items(
    function: Callable[..., Any], kill: Kill, is_it: Callable[[tuple[Any, ...]], bool]
) -> Callable[..., Any]:
    assert inspect.isgeneratorfunction(function), f"{kill.function} is no generator"

    @functools.wraps(function)
    def wrapped(*args: Any, **kwargs: Any) -> Iterator[Any]:
        is_last = is_it(args)
        for number, item in enumerate(function(*args, **kwargs)):
            if is_last and number == kill.when:
                die()
            yield item
        if is_last:
            die()

    return wrapped
