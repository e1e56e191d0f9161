"""Which lines of the programs are shown, and when: what a program complained of last is why it ended."""

import json
import logging
import re
import time
from collections.abc import Callable

from fedmx.values import Address

_DATE, _TIME, _ZONE = r"[0-9]{4}-[0-9]{2}-[0-9]{2}T", r"[0-9:]{8}\.[0-9]{3}", r"[+-][0-9:]{5}"
_TEXT_LINE = re.compile(rf"{_DATE}({_TIME}){_ZONE} (([A-Z]+) +(.*))")
# As text, and in JSON.
_ADDRESS = re.compile(r"""\baddress(?:=|": ")([^\s"]+)""")
_LISTENING, _RESUMED = "listening", "resuming"  # how the server says so
_HOLD_S = 1.0
"""Seconds after which a program that complained and still runs did not end of that."""


class Relay:
    """Shows lines, but holds back complaints until it is known whether their program ends of them.

    Args:
        show: takes a program's name and a line.
        level: lines below it are not shown.
        clock: monotonic seconds.
    """

    def __init__(
        self, show: Callable[[str, str], None], level: str, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._show = show
        self._clock = clock
        self._least = logging.getLevelNamesMapping()[level]
        self._held: dict[str, list[str]] = {}
        self._since: dict[str, float] = {}
        self._starting: set[str] = set()
        self._address: Address | None = None

    def expect_start(self, name: str) -> None:
        """Hold back whatever a program says until it listens: it tells why it does not."""
        self._starting.add(name)

    def is_starting(self, name: str) -> bool:
        """Whether a program that is to listen has not said that it does."""
        return name in self._starting

    @property
    def address(self) -> Address | None:
        """Where the server listens, once it has reported that."""
        return self._address

    def take(self, name: str, line: str) -> None:
        """Take a line that a program wrote."""
        level, message = split_line(line)
        if message.startswith(_LISTENING):
            self._starting.discard(name)
            self._address = _find_address(line)
        is_complaint = level == "ERROR" or line.startswith("Traceback")
        is_continued = not level and name in self._held
        if is_complaint or is_continued or name in self._starting:
            self._held.setdefault(name, []).append(line)
            self._since[name] = self._clock()
            return
        self.release(name)
        if logging.getLevelNamesMapping().get(level, logging.ERROR) >= self._least:
            self._show(name, line)

    def release(self, name: str) -> None:
        """Show what is held back of a program: it did not end of it."""
        for line in self.take_last_words(name):
            self._show(name, line)

    def release_old(self) -> None:
        """Show what has been held back for long."""
        now = self._clock()
        for name, since in list(self._since.items()):
            if now - since > _HOLD_S:
                self.release(name)

    def take_last_words(self, name: str) -> list[str]:
        """Give what is held back of a program that ended, to be shown in another way."""
        self._since.pop(name, None)
        return self._held.pop(name, [])

    def end(self) -> None:
        """Show no routine any more: the programs are being ended."""
        self._least = logging.WARNING


def is_routine(line: str) -> bool:
    """Whether a program's line tells only that all is well; what is no log line at all never is routine."""
    level, message = split_line(line)
    return level in ("INFO", "DEBUG") and not message.startswith(_RESUMED)


def _find_address(line: str) -> Address | None:
    found = _ADDRESS.search(line)
    try:
        return Address.parse(found[1]) if found else None
    except ValueError:
        return None


def shorten(line: str) -> str:
    """Return a log line without date and zone: whoever watches knows both."""
    return _TEXT_LINE.sub(r"\1 \2", line)


def split_line(line: str) -> tuple[str, str]:
    """Give the level and the message of a log line of either format; no level for what is none."""
    if match := _TEXT_LINE.fullmatch(line):
        return match[3], match[4]
    try:
        fields = json.loads(line)
        return str(fields["level"]), str(fields["reason" if fields["event"] == "error" else "event"])
    except (ValueError, KeyError, TypeError):
        return "", line
