"""What a reporter is, and how those of this package are found and called."""

import importlib
import pkgutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from fedmx.log import warn
from fedmx.settings import ServerSettings
from server import reporting
from server.report import Outcome, RoundReport, RunFacts


class Reporter:
    """Watches a run. A reporter overrides what it needs of this."""

    def on_run(self, facts: RunFacts) -> None:
        """Report that a run starts, or is resumed."""

    def on_round(self, report: RoundReport) -> None:
        """Report a finished round, which is on disk already."""

    def on_end(self, outcome: Outcome) -> None:
        """Report how the run ended."""


class Reporters(Reporter):
    """All reporters of a run, none of which can fail it.

    Args:
        reporters: called in this order.
    """

    def __init__(self, reporters: Iterable[Reporter]) -> None:
        self._reporters = list(reporters)
        self._failed: set[str] = set()

    def on_run(self, facts: RunFacts) -> None:
        """Report that a run starts, or is resumed."""
        self._call("on_run", facts)

    def on_round(self, report: RoundReport) -> None:
        """Report a finished round."""
        self._call("on_round", report)

    def on_end(self, outcome: Outcome) -> None:
        """Report how the run ended."""
        self._call("on_end", outcome)

    def _call(self, method: str, value: RunFacts | RoundReport | Outcome) -> None:
        for reporter in self._reporters:
            name = type(reporter).__name__
            # A later call may succeed, but one line is enough.
            with _surviving(name, is_logged=name not in self._failed) as failed:
                getattr(reporter, method)(value)
            if failed:
                self._failed.add(name)


def build(settings: ServerSettings) -> Reporters:
    """Build the reporters that the settings ask for, one from each module of this package.

    A reporter that cannot be built is named in a WARNING.
    """
    made = []
    for name in sorted(found.name for found in pkgutil.iter_modules(reporting.__path__)):
        with _surviving(name):
            module = importlib.import_module(f"{reporting.__name__}.{name}")
            if hasattr(module, "make"):
                made.append(module.make(settings))
    return Reporters(reporter for reporter in made if reporter is not None)


@contextmanager
def _surviving(name: str, *, is_logged: bool = True) -> Iterator[list[str]]:
    """Log a WARNING for whatever a reporter raises: what goes wrong while watching a run must not end it.

    Yields:
        A list that has the reason afterwards, if there is one.
    """
    failed: list[str] = []
    try:
        yield failed
    except (Exception, SystemExit) as error:  # noqa: BLE001 - see above
        failed.append(repr(error))
        if is_logged:
            warn("reporter failed", reporter=name, reason=failed[0])
