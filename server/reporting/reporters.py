"""All reporters of a run: how they are found, called and closed. None of them can fail the run."""

import importlib
import pkgutil
import time
from collections.abc import Iterable
from types import TracebackType
from typing import Self

from fedmx.errors import FederationError, StopSignal
from fedmx.log import warn
from fedmx.settings import ServerSettings
from server import reporting
from server.report import Opening, Outcome, RoundReport, RunFacts
from server.reporting.calls import BackgroundCalls, DirectCalls
from server.reporting.reporter import Reporter

# A program that is stopped by a signal has to end within five seconds.
_PATIENCE_IF_STOPPED_S = 2.0


class Reporters(Reporter):
    """All reporters of a run. As a context, it closes them at its end.

    Args:
        reporters: called in this order.

    Attributes:
        all: the reporters.
        url: where a person can watch the run in a browser; None if nowhere.
    """

    def __init__(self, reporters: Iterable[Reporter]) -> None:
        self.all = list(reporters)
        self.url = next((reporter.url for reporter in self.all if reporter.url), None)
        self._calls = [
            BackgroundCalls(reporter) if reporter.in_background else DirectCalls(reporter)
            for reporter in self.all
        ]

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, _: BaseException | None, __: TracebackType | None
    ) -> None:
        self.close(is_stopped=kind is not None and issubclass(kind, StopSignal))

    def on_open(self, opening: Opening) -> None:
        """Report that a run has its folder and waits for nodes."""
        for calls in self._calls:
            calls.call("on_open", opening)

    def on_run(self, facts: RunFacts) -> None:
        """Report that a run starts, or is resumed."""
        for calls in self._calls:
            calls.call("on_run", facts)

    def on_round(self, report: RoundReport) -> None:
        """Report a finished round."""
        for calls in self._calls:
            calls.call("on_round", report)

    def on_end(self, outcome: Outcome) -> None:
        """Report how the run ended."""
        for calls in self._calls:
            calls.call("on_end", outcome)

    def close(self, *, is_stopped: bool) -> None:
        """Close all reporters, and wait for each as long as its `patience_s` allows.

        A signal meanwhile shortens that. The run has ended by then, and its exit code stays as it is.
        """
        try:
            self._close(is_stopped=is_stopped)
        except StopSignal:
            # It is the only one: a program ignores further signals.
            self._close(is_stopped=True)

    def _close(self, *, is_stopped: bool) -> None:
        started = time.monotonic()
        # Those in the background finish while the others are closed.
        for calls in sorted(self._calls, key=lambda calls: isinstance(calls, DirectCalls)):
            calls.call("close", is_stopped=is_stopped)
        for calls in self._calls:
            patience_s = _PATIENCE_IF_STOPPED_S if is_stopped else calls.reporter.patience_s
            calls.finish(started + patience_s)


def build(settings: ServerSettings) -> Reporters:
    """Build the reporters that the settings ask for, one from each module of the package `server.reporting`.

    A reporter that cannot be imported or built is named in a WARNING.

    Raises:
        FederationError: a reporter rejects a setting.
    """
    made = []
    for name in sorted(found.name for found in pkgutil.iter_modules(reporting.__path__)):
        try:
            module = importlib.import_module(f"{reporting.__name__}.{name}")
            reporter = module.make(settings) if hasattr(module, "make") else None
            if not isinstance(reporter, Reporter | None):
                raise TypeError(f"make() returned {reporter!r}; expected a Reporter or None")  # noqa: TRY301
        except FederationError:
            raise
        except (Exception, SystemExit) as error:  # noqa: BLE001 - what watches a run must not end it
            warn("reporter failed", reporter=name, reason=repr(error))
        else:
            made.append(reporter)
    return Reporters(reporter for reporter in made if reporter is not None)
