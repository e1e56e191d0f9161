"""How programs ended that did not end well: in which words, and those of one kind together."""

import signal
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from fedmx.errors import FederationError
from local.relay import split_line

_A_BUG = 1
_KILLED = 128


@dataclass(frozen=True)
class Ending:
    """A program's exit code, and the lines that it said last."""

    name: str
    exit_code: int
    lines: Sequence[str]

    @property
    def messages(self) -> Sequence[str]:
        """What the lines say."""
        return [split_line(line)[1] for line in self.lines]

    @property
    def reason(self) -> str:
        """Why it ended, in its own words or by the signal's name."""
        if self.lines:
            return self.messages[-1]
        names = {_KILLED + number: number.name for number in signal.Signals}
        return names.get(self.exit_code, "")

    @property
    def details(self) -> Sequence[str]:
        """The lines that `reason` does not repeat."""
        return self.lines if self.exit_code == _A_BUG else self.lines[:-1]


class ProgramsFailedError(FederationError):
    """Programs ended with another exit code than 0; the first one's becomes that of the launcher."""

    def __init__(self, exit_code: int, lines: Iterable[str]) -> None:
        self.exit_code = exit_code
        super().__init__("\n".join(lines))


def describe(endings: Sequence[Ending], clients: int) -> list[str]:
    """Give a line for each kind of ending.

    Args:
        endings: one a program.
        clients: how many there are in all.
    """
    groups: dict[tuple[int, str], list[str]] = {}
    for ending in endings:
        groups.setdefault((ending.exit_code, ending.reason), []).append(ending.name)
    return [
        f"{_who(names, clients)} ended with exit code {code}" + (f": {reason}" if reason else "")
        for (code, reason), names in groups.items()
    ]


def list_details(endings: Sequence[Ending]) -> list[tuple[str, str]]:
    """Give the further lines of the first ending of each kind, with its program's name."""
    kinds: dict[tuple[int, str], Ending] = {}
    for ending in endings:
        kinds.setdefault((ending.exit_code, ending.reason), ending)
    return [(ending.name, line) for ending in kinds.values() for line in ending.details]


def _who(names: Sequence[str], clients: int) -> str:
    return f"all {clients} clients" if 1 < len(names) == clients else ", ".join(names)
