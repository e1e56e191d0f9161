"""Chromium for tests: how it is started, what a page logs, and where screenshots go."""

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from playwright.sync_api import Browser, ConsoleMessage, Error, Page

# What stands for a value that is missing: an en dash.
NOTHING = "\u2013"
SCREENSHOTS = Path(__file__).parents[3] / "build" / "screenshots"


def list_arguments() -> list[str]:
    """Return the arguments of Chromium, which has no sandbox for root."""
    return ["--no-sandbox"] if os.geteuid() == 0 else []


class Windows:
    """The windows of a browser. One that a test has left shows pages of later tests: a new one costs more.

    Args:
        browser: shows them.
        timeout_s: how long a page's waits may last.
    """

    def __init__(self, browser: Browser, timeout_s: float) -> None:
        self._browser = browser
        self._timeout_s = timeout_s
        self._left: list[tuple[Mapping[str, Any], Page]] = []

    def open(self, options: Mapping[str, Any]) -> Page:
        """Return an empty page of a window with these options, such as its size and colours."""
        for index, (others, page) in enumerate(self._left):
            if others == options:
                del self._left[index]
                return page
        wide = {"viewport": {"width": 1280, "height": 900}, "timezone_id": "UTC", "reduced_motion": "reduce"}
        context = self._browser.new_context(**{**wide, **options})
        context.set_default_timeout(self._timeout_s * 1000)
        return context.new_page()

    def leave(self, page: Page, options: Mapping[str, Any]) -> None:
        """Empty a page, and forget what it has stored."""
        page.evaluate("localStorage.clear()")
        page.goto("about:blank")
        self._left.append((options, page))


class Visit:
    """A page in a window, and the errors that it logs.

    Args:
        windows: the browser's.
        ignored: a regular expression; errors that match it are expected.
        options: of the window.
    """

    def __init__(self, windows: Windows, ignored: str, options: Mapping[str, Any]) -> None:
        self._windows = windows
        self._ignored = ignored
        self._options = options
        self._errors: list[str] = []
        self.page = windows.open(options)
        self.page.on("console", self._note)
        self.page.on("pageerror", self._note_exception)

    def end(self) -> list[str]:
        """Leave the window, and return the errors."""
        self._windows.leave(self.page, self._options)
        self.page.remove_listener("console", self._note)
        self.page.remove_listener("pageerror", self._note_exception)
        return [error for error in self._errors if not (self._ignored and re.search(self._ignored, error))]

    def _note(self, message: ConsoleMessage) -> None:
        if message.type in ("error", "warning"):
            self._errors.append(message.text)

    def _note_exception(self, error: Error) -> None:
        self._errors.append(error.stack or error.message)


def keep_screenshot(page: Page, name: str) -> None:
    """Write a picture of the whole page below `build/`, for a person to look at."""
    SCREENSHOTS.mkdir(parents=True, exist_ok=True)
    page.screenshot(path=SCREENSHOTS / f"{name}.png", full_page=True)


def count_points(page: Page, chart: str, key: str) -> int:
    """Return how many points the curve of a chart has."""
    path = page.locator(f'figure:has(h3:text-is("{chart}")) path.line[data-series="{key}"]')
    return len(re.findall("[ML]", path.get_attribute("d") or ""))


def read_rows(page: Page, caption: str) -> list[list[str]]:
    """Return the texts of a table's rows, without its head."""
    table = page.locator(f'table:has(caption:text-is("{caption}"))')
    # A table that is opened is filled at once, but by an event that follows.
    table.wait_for(state="attached")
    return [row.locator("th, td").all_inner_texts() for row in table.locator("tbody tr").all()]
