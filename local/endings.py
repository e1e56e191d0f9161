"""Why programs ended: the errors that each has logged, held back so that each is shown once."""

import re
import signal
from collections.abc import Sequence
from dataclasses import dataclass

from local.log_lines import split_line

_PAIR = 2
_TRACEBACK = "Traceback (most recent call last):"
# Problems of settings that were found before the log was configured.
_PROBLEM = re.compile(r"[A-Z][A-Z0-9_]*=.*: .*")


class Errors:
    """The errors of one program, from its lines."""

    def __init__(self) -> None:
        self._held: list[str] = []
        self._reasons: list[str] = []
        self._is_in_traceback = False

    @property
    def reason(self) -> str:
        """The program's newest error; empty if it has reported none."""
        return "; ".join(self._reasons)

    def read(self, line: str) -> Sequence[str]:
        """Read a line of the program, and return the lines to show now: an error is held back."""
        level, message = split_line(line)
        # The traceback of an error in JSON is in the error's line, which the reason does not replace.
        if (level == "ERROR" and '"traceback": ' not in line) or (not level and _PROBLEM.fullmatch(line)):
            if not self._held:
                self._reasons.clear()
            self._reasons.append(message)
            self._held.append(line)
            return []
        if level == "ERROR":
            self._reasons = [message]
        if not level and not self._follow_traceback(line):
            # Libraries print lines of their own, which are no reason for anything.
            return [line]
        return [*self.release(), line]

    def release(self) -> Sequence[str]:
        """Return the lines that were held back; they are no longer."""
        held = self._held
        self._held = []
        return held

    def _follow_traceback(self, line: str) -> bool:
        """Note the exception at the end of a traceback; return whether the line belongs to one."""
        if line.strip() == _TRACEBACK:
            self._is_in_traceback = True
            return True
        if not self._is_in_traceback:
            return False
        if line.strip() and not line.startswith(" "):
            self._reasons = [line]
            self._is_in_traceback = False
        return True


@dataclass(frozen=True)
class Ending:
    """How a program ended.

    Attributes:
        is_killed: whether a signal ended it; a program that a signal stops ends by itself.
    """

    exit_code: int
    reason: str
    is_killed: bool

    def describe(self, who: str) -> str:
        """Describe the end of a program, or of several that ended in the same way."""
        names = {128 + number: number.name for number in signal.Signals}
        name = names.get(self.exit_code, "")
        if self.is_killed:
            reason = f"killed by {name}"
        else:
            reason = self.reason or (f"stopped by {name}" if name else "")
        return f"{who} ended with exit code {self.exit_code}" + (f": {reason}" if reason else "")


def describe_clients(endings: Sequence[tuple[str, Ending]], total: int) -> list[str]:
    """Describe how clients ended, in one line for all that ended in the same way.

    Args:
        endings: names of clients and how they ended.
        total: the number of all clients.
    """
    groups: dict[Ending, list[str]] = {}
    for name, ending in endings:
        groups.setdefault(ending, []).append(name)
    return [ending.describe(_name(names, total)) for ending, names in groups.items()]


def _name(names: Sequence[str], total: int) -> str:
    if len(names) == 1:
        return names[0]
    if len(names) < total:
        return f"{len(names)} of {total} clients"
    return "both clients" if total == _PAIR else f"all {total} clients"
