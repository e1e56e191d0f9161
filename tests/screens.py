"""A terminal for tests: starts a program on one, and knows what a person sees on it."""

import fcntl
import os
import pty
import re
import struct
import subprocess
import termios
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

_CONTROL = re.compile(r"\x1b\[([?0-9;]*)([A-Za-z])|\x1b[^\[]|[\r\n\x07]|[^\x1b\r\n\x07]+")


class Screen:
    """The text on a terminal, from the codes that rich writes: lines, erased lines and a cursor that goes up.

    Args:
        width: in characters: longer lines wrap.
        height: in lines: a cursor cannot go up into lines that have left the screen.
    """

    def __init__(self, width: int, height: int) -> None:
        self.lines = [""]
        self._width = width
        self._height = height
        self._row = 0
        self._column = 0

    @property
    def text(self) -> str:
        """What is on the screen, and what was before it."""
        return "\n".join(line.rstrip() for line in self.lines)

    def feed(self, codes: str) -> None:
        """Show what a program wrote."""
        for match in _CONTROL.finditer(codes):
            if match[2]:
                self._control(match[1], match[2])
            elif match[0] == "\r":
                self._column = 0
            elif match[0] == "\n":
                self._down()
            elif not match[0].startswith(("\x1b", "\x07")):
                self._write(match[0])

    def _control(self, argument: str, letter: str) -> None:
        if letter == "A":
            top = max(0, len(self.lines) - self._height)
            self._row = max(top, self._row - int(argument or 1))
        elif letter == "K":
            line = self.lines[self._row]
            self.lines[self._row] = "" if argument == "2" else line[: self._column]
        elif letter not in "mhl":
            raise AssertionError(f"a control code that this terminal does not know: {argument}{letter}")

    def _write(self, text: str) -> None:
        for character in text:
            if self._column == self._width:
                self._column = 0
                self._down()
            line = self.lines[self._row].ljust(self._column)
            self.lines[self._row] = line[: self._column] + character + line[self._column + 1 :]
            self._column += 1

    def _down(self) -> None:
        self._row += 1
        if self._row == len(self.lines):
            self.lines.append("")


class Terminal:
    """A program on a terminal of its own.

    Args:
        command: the program and its arguments.
        environment: the program's.
        cwd: the folder in which it runs.
        size: columns and lines of the terminal.
    """

    def __init__(
        self,
        command: Sequence[str],
        environment: Mapping[str, str],
        cwd: Path,
        size: tuple[int, int] = (80, 24),
    ) -> None:
        self.screen = Screen(*size)
        self.codes = ""
        self._mine, its = pty.openpty()
        fcntl.ioctl(its, termios.TIOCSWINSZ, struct.pack("HHHH", size[1], size[0], 0, 0))
        self.process = subprocess.Popen(
            command, cwd=cwd, env=dict(environment), stdin=its, stdout=its, stderr=its, start_new_session=True
        )
        os.close(its)

    def read_until(self, is_shown: Callable[[str], bool]) -> bool:
        """Read until the screen shows something, and return whether it did before the program ended."""
        while not is_shown(self.screen.text):
            try:
                part = os.read(self._mine, 65_536).decode(errors="replace")
            except OSError:  # how Linux reports that the other side was closed
                return False
            self.codes += part
            self.screen.feed(part)
        return True

    def read_all(self) -> str:
        """Read until the program has ended, and return what then is on the terminal."""
        self.read_until(lambda _: False)
        return self.screen.text

    def close(self) -> None:
        """End the program if it runs."""
        self.process.kill()
        self.process.wait()
        os.close(self._mine)
