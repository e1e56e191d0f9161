"""The page without a mouse, and as a screen reader finds it."""

from collections.abc import Callable
from itertools import pairwise
from typing import Any

from playwright.sync_api import Page, expect

from server.status.page import build_report
from tests.server.status.browser import NOTHING, read_rows
from tests.server.status.documents import make_document

Opener = Callable[..., Page]
MOST_STOPS = 120


def describe_focus(page: Page) -> str:
    """Return what has the focus; empty once it has left the page."""
    script = """() => {
        const one = document.activeElement;
        if (one === null || one === document.body) return "";
        return [one.tagName, one.id, one.getAttribute("aria-label") ?? one.textContent].join(" ").trim();
    }"""
    found: str = page.evaluate(script)
    return found


def walk(page: Page) -> list[str]:
    """Press Tab until the focus leaves the page, and return where it has been."""
    stops: list[str] = []
    for _ in range(MOST_STOPS):
        page.keyboard.press("Tab")
        stop = describe_focus(page)
        if stop == "" or (stops and stop == stops[0]):
            return stops
        stops.append(stop)
    raise AssertionError(f"the focus does not leave the page: {stops}")


def test_tab_reaches_everything_once_and_leaves_the_page(open_report: Callable[..., Page]) -> None:
    page = open_report(build_report(make_document(5, 2), [make_document(3, 2, run_id="other")]))
    stops = walk(page)
    assert stops[0] == "A  Skip to the content"
    for wanted in (
        "SELECT metric loss",
        "INPUT logarithmic",
        "DIV  Loss, all nodes together, curves over rounds",
        "BUTTON  Speed",
        "INPUT  Compare with other",
        "DIV  Time by phase, curves over rounds",
    ):
        assert any(stop.startswith(wanted) for stop in stops), (wanted, stops)
    focusable = (
        page.locator("a[href], button, select, input, summary, [tabindex='0']").filter(visible=True).count()
    )
    assert len(stops) == focusable


def test_focus_is_visible_wherever_it_is(open_report: Opener) -> None:
    page = open_report(build_report(make_document(5, 2), [make_document(3, 2, run_id="other")]))
    for _ in range(MOST_STOPS):
        page.keyboard.press("Tab")
        if describe_focus(page) == "":
            return
        outline = page.evaluate("getComputedStyle(document.activeElement).outlineStyle")
        assert outline != "none", describe_focus(page)
    raise AssertionError("the focus does not leave the page")


def test_the_skip_link_leads_past_the_head(open_report: Opener) -> None:
    page = open_report(build_report(make_document(5, 2)))
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    page.keyboard.press("Tab")
    assert describe_focus(page).startswith("SELECT metric")


def test_arrow_keys_read_the_values_of_a_chart(open_report: Opener) -> None:
    document = make_document(5, 2)
    document["curves"]["evaluate"]["loss"] = [0.5, 0.4, None, 0.25, 0.125]
    document["curves"]["train"] = {}
    page = open_report(build_report(document))
    plot = page.get_by_role("slider", name="Loss, all nodes together, curves over rounds")
    plot.focus()
    expect(plot).to_have_attribute("aria-valuetext", "Round 5: Evaluation 0.1250")
    page.keyboard.press("ArrowLeft")
    expect(plot).to_have_attribute("aria-valuetext", "Round 4: Evaluation 0.2500")
    expect(plot).to_have_attribute("aria-valuenow", "4")
    page.keyboard.press("ArrowLeft")
    expect(plot).to_have_attribute("aria-valuetext", f"Round 3: Evaluation {NOTHING}")
    page.keyboard.press("Home")
    page.keyboard.press("ArrowLeft")
    expect(plot).to_have_attribute("aria-valuetext", "Round 1: Evaluation 0.5000")
    figure = page.locator("figure").first
    expect(figure.locator(".note")).to_have_text("Round 1")
    expect(figure.locator(".legend .value")).to_have_text("0.5000")


def test_a_chart_has_its_values_as_a_table(open_report: Opener) -> None:
    document = make_document(3, 2)
    document["curves"]["evaluate"]["loss"] = [0.5, None, 0.25]
    document["curves"]["train"] = {}
    page = open_report(build_report(document))
    summary = page.locator("figure summary").first
    summary.focus()
    page.keyboard.press("Enter")
    assert read_rows(page, "Loss, all nodes together") == [["1", "0.5000"], ["2", NOTHING], ["3", "0.2500"]]


def test_a_table_is_sorted_by_the_button_of_a_column(open_report: Opener) -> None:
    document = make_document(3, 3)
    for node, speed in zip(document["nodes"], (5.0, None, 7.0), strict=True):
        node["examples_per_second"] = speed
    page = open_report(build_report(document))
    button = page.get_by_role("button", name="Speed")
    header = page.locator("th:has(button:text-is('Speed'))")

    def read_names() -> list[str]:
        return [row[0] for row in read_rows(page, "Nodes (3)")]

    button.focus()
    page.keyboard.press("Enter")
    expect(header).to_have_attribute("aria-sort", "descending")
    assert read_names() == ["site-2.client-3", "site-0.client-1", "site-1.client-2"]
    page.keyboard.press("Space")
    expect(header).to_have_attribute("aria-sort", "ascending")
    assert read_names() == ["site-0.client-1", "site-2.client-3", "site-1.client-2"]


def test_every_part_has_a_name_and_every_control_a_label(open_report: Opener) -> None:
    page = open_report(build_report(make_document(5, 2), [make_document(3, 2, run_id="other")]))
    for landmark in ("banner", "navigation", "main", "contentinfo"):
        expect(page.get_by_role(landmark)).to_have_count(1)
    tree: Any = page.locator("body").aria_snapshot()
    unnamed = [line for line in tree.splitlines() if line.strip().rstrip(":") in UNNAMED]
    assert unnamed == []
    headings = (
        page.locator("h1, h2, h3")
        .filter(visible=True)
        .evaluate_all("all => all.map(one => Number(one.tagName[1]))")
    )
    assert headings[0] == 1
    assert headings.count(1) == 1
    assert all(after - before <= 1 for before, after in pairwise(headings))


UNNAMED = {
    f"- {role}"
    for role in ("button", "link", "combobox", "checkbox", "slider", "table", "region", "progressbar")
}
