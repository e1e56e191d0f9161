"""Chromium for tests: how it is started, what a page logs, and where screenshots go."""

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from playwright.sync_api import Browser, ConsoleMessage, Page

# What stands for a value that is missing: an en dash.
NOTHING = "\u2013"
SCREENSHOTS = Path(__file__).parents[3] / "build" / "screenshots"


def list_arguments() -> list[str]:
    """Return the arguments of Chromium, which has no sandbox for root."""
    return ["--no-sandbox"] if os.geteuid() == 0 else []


class Visit:
    """A page in a window of its own, and the errors that it logs.

    Args:
        browser: shows it.
        timeout_s: how long the page's waits may last.
        ignored: a regular expression; errors that match it are expected.
        options: of the window, such as its size and colours.
    """

    def __init__(self, browser: Browser, timeout_s: float, ignored: str, options: Mapping[str, Any]) -> None:
        wide = {"viewport": {"width": 1280, "height": 900}, "timezone_id": "UTC", "reduced_motion": "reduce"}
        self._context = browser.new_context(**{**wide, **options})
        self._context.set_default_timeout(timeout_s * 1000)
        self._ignored = ignored
        self._errors: list[str] = []
        self.page: Page = self._context.new_page()
        self.page.on("console", self._note)
        self.page.on("pageerror", lambda error: self._errors.append(error.stack or error.message))

    def end(self) -> list[str]:
        """Close the window, and return the errors."""
        self._context.close()
        return [error for error in self._errors if not (self._ignored and re.search(self._ignored, error))]

    def _note(self, message: ConsoleMessage) -> None:
        if message.type in ("error", "warning"):
            self._errors.append(message.text)


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
