"""The site of the documentation in a real browser, opened as files: search, keyboard, dark mode, a phone."""

import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from tests.server.status.browser import keep_screenshot

Open = Callable[..., Page]
RESULTS = ".md-search-result__item a"


@pytest.fixture
def open_site(open_page: Open, site: Path) -> Iterator[Open]:
    """Return a function that opens a page of the site, which may fetch nothing but the site's files."""
    fetched: list[str] = []

    def open_one(name: str = "index.html", **options: object) -> Page:
        page = open_page("about:blank", **options)
        page.on("request", lambda request: fetched.append(request.url))
        page.goto((site / name).as_uri())
        return page

    yield open_one
    assert fetched
    assert [url for url in fetched if not url.startswith((site.as_uri(), "data:"))] == []


def test_the_search_finds_a_setting_and_leads_to_its_page_with_the_keyboard_alone(open_site: Open) -> None:
    page = open_site()
    page.keyboard.press("/")
    page.keyboard.type("MAX_EPSILON")
    expect(page.locator(RESULTS, has_text="Settings").first).to_be_visible()
    keep_screenshot(page, "docs-search")
    while "reference/settings.html" not in str(page.evaluate("document.activeElement.href ?? ''")):
        page.keyboard.press("ArrowDown")
    page.keyboard.press("Enter")
    page.wait_for_url(re.compile(r"/reference/settings\.html"))
    expect(page.get_by_role("heading", level=1)).to_contain_text("Settings")


def test_tab_skips_to_the_content_and_reaches_the_navigation(open_site: Open) -> None:
    page = open_site("operating/sites.html")
    page.keyboard.press("Tab")
    assert "Skip to content" in str(page.evaluate("document.activeElement.textContent"))
    for _ in range(200):
        page.keyboard.press("Tab")
        if str(page.evaluate("document.activeElement.href ?? ''")).endswith("/operating/certificates.html"):
            break
    page.keyboard.press("Enter")
    page.wait_for_url(re.compile(r"/operating/certificates\.html"))


def find_background(page: Page) -> int:
    """Return how bright the page's background is, from 0 to 255."""
    color = str(page.evaluate("getComputedStyle(document.body).backgroundColor"))
    return max(int(number) for number in re.findall(r"\d+", color)[:3])


def test_the_colors_follow_the_system_and_the_button_changes_them_for_good(open_site: Open) -> None:
    light, dark = open_site(color_scheme="light"), open_site(color_scheme="dark")
    assert find_background(light) > 200
    assert find_background(dark) < 60
    keep_screenshot(dark, "docs-dark")
    light.get_by_title("Switch to light mode").click()
    light.get_by_title("Switch to dark mode").click()
    expect(light.get_by_title("Switch to system preference")).to_be_visible()
    assert find_background(light) < 60
    light.reload()
    assert find_background(light) < 60


@pytest.mark.parametrize("name", ["index.html", "reference/settings.html", "first-hour/tables.html"])
def test_on_a_phone_no_page_scrolls_sideways_and_the_navigation_opens(open_site: Open, name: str) -> None:
    page = open_site(name, viewport={"width": 390, "height": 800})
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    keep_screenshot(page, f"docs-phone-{Path(name).stem}")
    page.locator(".md-header label[for=__drawer]").click()
    expect(page.locator(".md-nav--primary a", has_text="Start").first).to_be_in_viewport()


def test_the_button_of_a_block_copies_commands_without_prompts_and_output(open_site: Open) -> None:
    page = open_site("first-hour/tables.html", permissions=["clipboard-read", "clipboard-write"])
    block = page.locator(".highlight", has_text="examples.hospitals").first
    block.hover()
    block.get_by_role("button").or_(page.locator("button.md-code__button")).first.click()
    copied = str(page.evaluate("navigator.clipboard.readText()"))
    assert "python3 -m examples.hospitals data/hospitals" in copied
    assert "$ " not in copied
    assert "patient_id" not in copied
