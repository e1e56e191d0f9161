"""What a reporter is, and how those of this package are found and called."""

import importlib
import pkgutil
from collections.abc import Callable, Iterable
from typing import TypeVar

from fedmx.log import warn
from fedmx.settings import ServerSettings
from server import reporting
from server.report import Outcome, RoundReport, RunFacts

T = TypeVar("T")


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
        for reporter in self._reporters:
            self._call(reporter, reporter.on_run, facts)

    def on_round(self, report: RoundReport) -> None:
        """Report a finished round."""
        for reporter in self._reporters:
            self._call(reporter, reporter.on_round, report)

    def on_end(self, outcome: Outcome) -> None:
        """Report how the run ended."""
        for reporter in self._reporters:
            self._call(reporter, reporter.on_end, outcome)

    def _call(self, reporter: Reporter, report: Callable[[T], None], value: T) -> None:
        try:
            report(value)
        # Whatever goes wrong while watching a run must not end it. A later call may succeed.
        except (Exception, SystemExit) as error:  # noqa: BLE001 - see above
            name = type(reporter).__name__
            if name not in self._failed:
                self._failed.add(name)
                warn("reporter failed", reporter=name, reason=repr(error))


def build(settings: ServerSettings) -> Reporters:
    """Build the reporters that the settings ask for, one from each module of this package.

    Raises:
        SettingsError: a reporter cannot be built.
    """
    names = [found.name for found in pkgutil.iter_modules(reporting.__path__)]
    modules = [importlib.import_module(f"{reporting.__name__}.{name}") for name in sorted(names)]
    makers = [module.make for module in modules if hasattr(module, "make")]
    made = [make(settings) for make in makers]
    return Reporters(reporter for reporter in made if reporter is not None)
