"""A report in a real browser: one file, opened from disk."""

from collections.abc import Callable
from typing import Any

import pytest
from playwright.sync_api import Page, expect

from server.status.page import build_report
from tests.server.status.browser import count_points, keep_screenshot, read_rows
from tests.server.status.documents import make_document

Opener = Callable[..., Page]
PHONE = {"viewport": {"width": 360, "height": 740}}
TOGETHER = "Loss, all nodes together"
EACH = "Loss, each node"


def find_chart(page: Page, title: str) -> Any:
    return page.locator(f'figure:has(h3:text-is("{title}"))')


def make_pair() -> tuple[dict[str, Any], dict[str, Any]]:
    """Return two runs whose settings differ in one number."""
    one = make_document(20, 3, name="first")
    settings = {"RUNS_DIR": "mine"} | one["settings"] | {"LEARNING_RATE": 0.01}
    return one, make_document(12, 3, run_id="20260301-101500-cd34", name="second", settings=settings)


def test_a_report_opened_from_disk_shows_the_curves_of_all_rounds(open_report: Opener) -> None:
    page = open_report(build_report(make_document(20, 3)))
    assert count_points(page, TOGETHER, "evaluate") == 20
    assert count_points(page, TOGETHER, "train") == 20
    for number in (1, 2, 3):
        assert count_points(page, EACH, f"node site-{number - 1}.client-{number}") == 20
    expect(page.locator("#state")).to_have_text("Finished")
    assert page.title() == "Finished · 20260302-090000-ab12 · fedmx"
    keep_screenshot(page, "report")


@pytest.mark.parametrize("rounds", [1, 2, 3])
def test_each_of_a_few_rounds_is_a_point(open_report: Opener, rounds: int) -> None:
    page = open_report(build_report(make_document(rounds, 2)))
    dots = find_chart(page, TOGETHER).locator("path.dots.colour-0").get_attribute("d")
    # Each point is a circle of its own.
    assert dots.count("z") == rounds
    keep_screenshot(page, f"rounds-{rounds}")


def test_a_missing_value_interrupts_a_curve_and_a_lonely_one_is_a_point(open_report: Opener) -> None:
    document = make_document(100, 2)
    values = document["curves"]["evaluate"]["loss"]
    values[10:20] = [None] * 10
    values[30] = values[32] = None
    page = open_report(build_report(document))
    chart = find_chart(page, TOGETHER)
    assert chart.locator('path.line[data-series="evaluate"]').get_attribute("d").count("M") == 4
    assert chart.locator("path.dots.colour-0").get_attribute("d").count("z") == 1


def test_a_run_without_a_round_says_so(open_report: Opener) -> None:
    page = open_report(
        build_report(make_document(0, 0, num_rounds=5, status="failed", reason="no node came"))
    )
    expect(page.locator("#state")).to_have_text("Failed")
    expect(page.locator("#reason")).to_contain_text("no node came")
    expect(find_chart(page, "Time by phase").locator("text.nothing")).to_have_text("No values yet")
    keep_screenshot(page, "no-rounds")


def test_a_damaged_document_is_shown_as_far_as_it_goes(open_report: Opener) -> None:
    for damage in (
        {"curves": None},
        {"nodes": None, "sites": None},
        {"settings": None, "best": {"round": "x"}},
    ):
        page = open_report(build_report(make_document(3, 2, **damage)))
        expect(page.locator("#name")).to_have_text("20260302-090000-ab12")


@pytest.mark.parametrize(
    ("low", "label"), [(1e-9, "\u00d710⁻⁹"), (1e12, "\u00d710¹²"), (0.0001, "0.0001"), (1234.0, "1\u202f234")]
)
def test_values_of_any_size_are_readable(open_report: Opener, low: float, label: str) -> None:
    document = make_document(3, 1)
    document["curves"]["evaluate"]["loss"] = [low * 3, low * 2, low]
    page = open_report(build_report(document))
    expect(find_chart(page, TOGETHER).locator(".legend .value").first).to_contain_text(label)
    ticks = find_chart(page, TOGETHER).locator("text.tick.value").all_text_contents()
    assert len(set(ticks)) == len(ticks)


HOSTILE = [
    "<script>window.hit = 1</script>",
    '"><img src=x onerror="window.hit=1">',
    "</script><script>window.hit=1</script>",
]


@pytest.mark.parametrize("name", HOSTILE)
def test_names_are_text_wherever_they_are_shown(open_report: Opener, name: str) -> None:
    document = make_document(3, 1, name=name, notes=name, tags=[name], reason=name, status="failed")
    document["nodes"][0] |= {"name": name, "site": name, "metrics": {name: 1.0}}
    document["sites"][0]["site"] = name
    document["node_curves"]["nodes"] = {name: {"loss": [1.0, 2.0, 3.0], name: [1.0, 2.0, 3.0]}}
    document["curves"]["evaluate"][name] = [1.0, 2.0, 3.0]
    document["rejections"] = [{"round": 1, "step": "train", "name": name, "reason": name}]
    document["settings"][name] = name
    other = make_document(3, 1, run_id=name, name=name, settings={name: 1})
    page = open_report(build_report(document, [other]))
    page.locator("#metric").select_option(name)
    page.locator("#compared-metric").select_option(name)
    for summary in page.locator("summary").filter(visible=True).all():
        summary.click()
    assert page.evaluate("window.hit") is None
    assert page.locator("img, main script").count() == 0
    expect(page.locator("#name")).to_have_text(name)
    rows = read_rows(page, "Nodes (1)")
    assert name in rows[0]


def test_names_of_javascripts_own_are_no_trap(open_report: Opener) -> None:
    document = make_document(3, 1)
    for name in ("__proto__", "constructor", "toString"):
        document["curves"]["evaluate"][name] = [1.0, 2.0, 3.0]
        document["node_curves"]["nodes"][name] = {name: [1.0, 2.0, 3.0]}
        document["settings"][name] = 1
    # A name that JavaScript knows must not be found where the document lacks it.
    page = open_report(build_report(document, [make_document(2, 1, run_id="other")]))
    page.locator("#metric").select_option("constructor")
    assert count_points(page, "Constructor, all nodes together", "evaluate") == 3


def test_two_runs_are_drawn_over_each_other_with_the_settings_that_differ(open_report: Opener) -> None:
    one, other = make_pair()
    page = open_report(build_report(one, [other]))
    assert count_points(page, "Loss of each run", one["run_id"]) == 20
    assert count_points(page, "Loss of each run", other["run_id"]) == 12
    assert read_rows(page, "Settings that differ") == [["LEARNING_RATE", "0.05", "0.01"]]
    page.get_by_label("Compare with second").uncheck()
    expect(page.locator("#comparison")).to_be_hidden()


def test_settings_that_differ_from_their_defaults_come_first(open_report: Opener) -> None:
    document = make_document(20, 1)
    document["settings"] |= {"LISTEN_ADDRESS": "127.0.0.1:0", "RUNS_DIR": "mine"}
    page = open_report(build_report(document))
    assert [row[:3] for row in read_rows(page, "Settings that differ from their defaults")] == [
        ["NUM_ROUNDS", "20", "3"]
    ]


def test_nodes_that_were_never_left_out_show_0_beside_one_that_was(open_report: Opener) -> None:
    document = make_document(2, 2)
    heading = 'table:has(caption:text-is("Nodes (2)")) th:has-text("Left out")'
    assert open_report(build_report(document)).locator(heading).count() == 0
    document["nodes"][0]["left_out"] = 6
    page = open_report(build_report(document))
    assert page.locator(heading).count() == 1
    assert [row[-1] for row in read_rows(page, "Nodes (2)")] == ["6", "0"]


def test_on_a_phone_nothing_but_tables_scrolls_sideways(open_report: Opener) -> None:
    one, other = make_pair()
    rejected = [{"round": 3, "step": "train", "name": "n" * 64, "reason": "not finite: " + "w" * 300}]
    one |= {"name": "r" * 120, "rejections": rejected, "notes": "n" * 500}
    page = open_report(build_report(one, [other]), **PHONE)
    page.locator("details").evaluate_all("all => all.forEach(one => { one.open = true })")
    assert page.evaluate("document.documentElement.scrollWidth") == 360
    assert page.evaluate("document.body.scrollWidth") <= 360
    keep_screenshot(page, "phone")


def test_dark_mode_is_dark_and_readable(open_report: Opener) -> None:
    page = open_report(build_report(*map_pair()), color_scheme="dark")
    ground, text = page.evaluate(
        "[getComputedStyle(document.body).backgroundColor, getComputedStyle(document.body).color]"
    )
    assert measure_contrast(ground, text) > 7
    assert measure_luminance(ground) < 0.05
    keep_screenshot(page, "dark")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_curve_stands_out_from_the_ground(open_report: Opener, scheme: str) -> None:
    page = open_report(build_report(make_document(3, 7)), color_scheme=scheme)
    chart = find_chart(page, EACH)
    ground = chart.evaluate("one => getComputedStyle(one).backgroundColor")
    colours = chart.locator(".plot path.line").evaluate_all(
        "all => all.map(one => getComputedStyle(one).stroke)"
    )
    dashes = chart.locator(".plot path.line").evaluate_all(
        "all => all.map(one => getComputedStyle(one).strokeDasharray)"
    )
    assert len(set(colours)) == 8
    assert len(set(dashes)) == 8
    assert all(measure_contrast(ground, colour) > 3 for colour in colours)


def map_pair() -> tuple[dict[str, Any], list[dict[str, Any]]]:
    one, other = make_pair()
    return one, [other]


def measure_luminance(colour: str) -> float:
    """Return the relative luminance of `rgb(r, g, b)`, as WCAG defines it."""
    values = [int(part) / 255 for part in colour.removeprefix("rgb(").removesuffix(")").split(",")]
    red, green, blue = (
        value / 12.92 if value <= 0.04045 else ((value + 0.055) / 1.055) ** 2.4 for value in values
    )
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def measure_contrast(one: str, other: str) -> float:
    low, high = sorted([measure_luminance(one), measure_luminance(other)])
    return (high + 0.05) / (low + 0.05)


def test_curves_can_be_hidden_and_the_legend_says_which(open_report: Opener) -> None:
    page = open_report(build_report(make_document(5, 2)))
    chart = find_chart(page, TOGETHER)
    button = chart.get_by_role("button", name="Training")
    button.click()
    expect(button).to_have_attribute("aria-pressed", "false")
    expect(chart.locator('path.line[data-series="train"]')).to_have_count(0)
    button.click()
    expect(chart.locator('path.line[data-series="train"]')).to_have_count(1)


def test_another_metric_can_be_chosen(open_report: Opener) -> None:
    page = open_report(build_report(make_document(5, 2)))
    page.get_by_label("Metric").first.select_option("accuracy")
    assert count_points(page, "Accuracy, all nodes together", "evaluate") == 5


def test_a_logarithmic_scale_leaves_out_what_is_not_positive(open_report: Opener) -> None:
    document = make_document(4, 1)
    document["curves"]["evaluate"]["loss"] = [1000.0, 10.0, 0.0, 1.0]
    page = open_report(build_report(document))
    page.get_by_label("Logarithmic").check()
    assert count_points(page, TOGETHER, "evaluate") == 3


def test_of_many_nodes_the_lowest_and_the_highest_are_shown_and_others_can_be_added(
    open_report: Opener,
) -> None:
    page = open_report(build_report(make_document(1000, 200)))
    assert count_points(page, TOGETHER, "evaluate") == 1000
    chart = find_chart(page, EACH)
    labels = chart.locator(".legend .name").all_text_contents()
    assert [label.split(":")[0] for label in labels] == ["All together", "Lowest", "Highest"]
    page.get_by_label("Node", exact=True).select_option("site-3.client-95")
    page.get_by_role("button", name="Add its curve").click()
    expect(chart.locator(".legend .name").nth(3)).to_have_text("site-3.client-95")
    # Points are parts of paths, not elements.
    assert page.locator("svg *").count() < 400
    assert len(read_rows(page, "Nodes (200)")) == 200
    keep_screenshot(page, "200-nodes")
    page.get_by_role("button", name="Remove the added curves").click()
    expect(chart.locator(".legend .name")).to_have_count(3)
