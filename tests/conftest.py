"""What applies to every test."""

import signal
from collections.abc import Generator, Iterator

import pytest


@pytest.fixture(scope="session", autouse=True)
def _no_ignored_hangup() -> Iterator[None]:
    """Start programs with the default of SIGHUP, also where nohup started the tests.

    A program inherits a signal that is ignored, but not a handler: the tests still survive the hangup.
    """
    before = signal.getsignal(signal.SIGHUP)
    if before is signal.SIG_IGN:
        signal.signal(signal.SIGHUP, lambda *_: None)
    yield
    signal.signal(signal.SIGHUP, before)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Escape lone surrogates in captured output: pytest-xdist sends reports as UTF-8, and fails on them."""
    report = yield
    report.sections = [
        (title, content.encode(errors="backslashreplace").decode()) for title, content in report.sections
    ]
    return report
