"""What applies to every test, and fixtures of several folders and files."""

import gc
import os
import signal
import sys
from collections import Counter
from collections.abc import Callable, Generator, Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect, sync_playwright

from tests.bounds import HANG_S
from tests.machine import PYTHON, Machine
from tests.server.status.browser import Visit, Windows, list_arguments
from tests.tools import find_browser

# What `make test ARGS=...` passes on would change what the tests' own `make` commands print and do.
for _name in ("MAKEFLAGS", "MFLAGS", "MAKEOVERRIDES", "MAKELEVEL", "ARGS"):
    os.environ.pop(_name, None)
# Otherwise, every worker would compile all tests, and many of their programs all modules.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
sys.dont_write_bytecode = False


def pytest_xdist_auto_num_workers() -> int:
    """Return five processes for every two cores: most tests of federations wait for other programs."""
    return 5 * len(os.sched_getaffinity(0)) // 2


def pytest_collection_finish() -> None:
    """Look for garbage only among what tests create.

    What was imported stays anyway, and would take a tenth of the time.
    """
    gc.collect()
    gc.freeze()


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


@pytest.fixture(scope="module")
def windows() -> Iterator[Windows]:
    """A real browser. Playwright keeps an event loop running, in which tests of other modules cannot run."""
    path = find_browser()
    expect.set_options(timeout=HANG_S * 1000)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=list_arguments())
        yield Windows(browser, HANG_S)
        browser.close()


@pytest.fixture
def open_page(windows: Windows) -> Iterator[Callable[..., Page]]:
    """Return a function that opens an address; the pages may not have logged an error at the end."""
    visits: list[Visit] = []

    def open_one(address: str, *, ignored: str = "", **options: object) -> Page:
        visits.append(Visit(windows, ignored, options))
        visits[-1].page.goto(address)
        return visits[-1].page

    yield open_one
    errors = [error for visit in visits for error in visit.end()]
    assert errors == []


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


@pytest.fixture
def machine_with_python(machine: Machine) -> Machine:
    machine.put("python3.11", PYTHON)
    return machine


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Escape lone surrogates in captured output: pytest-xdist sends reports as UTF-8, and fails on them."""
    report = yield
    report.sections = [
        (title, content.encode(errors="backslashreplace").decode()) for title, content in report.sections
    ]
    return report


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Count the commands of the documentation that were run, and those that were not by their reason."""
    found = [each for report in terminalreporter.getreports("passed") for each in report.user_properties]
    run = sum(int(str(value)) for name, value in found if name == "commands_run")
    not_run: Counter[str] = Counter()
    for name, value in found:
        if name == "commands_not_run":
            reason, count = value
            not_run[reason] += count
    if run or not_run:
        terminalreporter.section("commands of the documentation")
        terminalreporter.write_line(f"{run} commands run, {not_run.total()} not run")
        for reason, count in not_run.most_common():
            terminalreporter.write_line(f"  {count} not run: {reason}")
