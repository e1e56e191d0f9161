"""A disk of its own for runs, which can become full, read-only, or vanish, at an exact point of a program.

Needs root, as mounting does.
"""

import ctypes
import functools
import os
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.federation.chaos.killing import replace

_BYTES = 2 * 1024**2
# Flags of <sys/mount.h>.
_READ_ONLY = 1
_DETACH = 2
_REMOUNT = 32
_BIND = 4096


@dataclass(frozen=True)
class Disk:
    """A small file system, seen at a mount point.

    Attributes:
        store: where it is itself.
        point: where programs see it.
    """

    store: Path
    point: Path

    def make(self) -> None:
        for folder in (self.store, self.point):
            folder.mkdir()
        _mount("tmpfs", self.store, "tmpfs", 0, f"size={_BYTES}")
        self.come_back()

    def fill(self) -> None:
        """Leave no room on it."""
        with suppress(OSError), self._ballast.open("wb", buffering=0) as file:
            while True:
                file.write(bytes(4096))

    def clear(self) -> None:
        """Make room again."""
        self._ballast.unlink()

    def lock(self) -> None:
        """Become read-only."""
        # A mount with a file that is open for writing cannot become read-only itself, but another one can.
        self.come_back()
        _mount("none", self.point, "", _REMOUNT | _BIND | _READ_ONLY)

    def vanish(self) -> None:
        """Be gone from its mount point."""
        _libc("umount2", os.fsencode(self.point), _DETACH)

    def come_back(self) -> None:
        """Be at its mount point."""
        _mount(str(self.store), self.point, "", _BIND)

    def end(self) -> None:
        """Unmount all of it."""
        for path in (self.point, self.point, self.store):
            with suppress(OSError):
                _libc("umount2", os.fsencode(path), _DETACH)

    @property
    def _ballast(self) -> Path:
        return self.store / ".ballast"


@dataclass(frozen=True)
class Before:
    """An action right before a call of one of a program's functions.

    Attributes:
        function: as in `killing`.
        do: what happens.
        call: before which of its calls.
    """

    function: str
    do: Callable[[], None]
    call: int = 1

    def arm(self) -> None:
        """Make it happen in this process."""
        calls = 0

        def wrap(function: Callable[..., Any]) -> Callable[..., Any]:
            @functools.wraps(function)
            def wrapped(*args: Any, **kwargs: Any) -> Any:
                nonlocal calls
                calls += 1
                if calls == self.call:
                    self.do()
                return function(*args, **kwargs)

            return wrapped

        replace(self.function, wrap)


def _mount(source: str, target: Path, kind: str, flags: int, options: str = "") -> None:
    texts = [os.fsencode(text) for text in (source, target, kind)]
    _libc("mount", *texts, ctypes.c_ulong(flags), options.encode())


def _libc(name: str, *arguments: object) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if getattr(libc, name)(*arguments):
        number = ctypes.get_errno()
        raise OSError(number, f"{name}: {os.strerror(number)}")
