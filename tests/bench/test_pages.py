import json
import re
from pathlib import Path
from typing import Any

import pytest

from bench.machine import describe_machine
from bench.outcome import Outcome
from bench.pages import PAGE, build_blocks, build_panels, merge, replace_blocks
from bench.plot import draw
from bench.report import Report
from bench.wan.crossing import Crossing

ROWS = [
    Outcome("link", "small", 1.0, [seconds], base_rss=0, peak_rss=int(peak * 1e6), nodes=nodes, cpu_s=0.5)
    for nodes, seconds, peak in ((2, 0.02, 16.0), (50, 0.5, 40.0), (500, 5.0, 90.0))
]


def write(folder: Path, **parts: Any) -> dict[str, Any]:
    path = Report(describe_machine(), **parts).write(folder)
    content: dict[str, Any] = json.loads(path.read_text())
    return content


def test_each_part_comes_from_the_newest_result_that_has_it(tmp_path: Path) -> None:
    old = write(tmp_path, outcomes=[Outcome("link", "small", 1.0, [9.0])], scale=ROWS)
    new = write(tmp_path, outcomes=[Outcome("link", "small", 1.0, [3.0])])
    parts = merge([old, new])
    assert parts["outcomes"]["link", "small"].median_s == 3.0
    assert parts["scale"] == ROWS


def test_the_page_has_a_block_for_all_that_is_measured(tmp_path: Path) -> None:
    crossings = [Crossing("raw TCP", 25_000_000, 2.0, 2.0), Crossing("link", 25_000_000, 2.5, 4.0)]
    outcomes = [Outcome("tls", "large", 1.0, [1.25], peak_rss=600_000_000)]
    blocks = build_blocks(merge([write(tmp_path, outcomes=outcomes, scale=ROWS, wan=crossings)]), "idle")
    page = replace_blocks(PAGE.read_text(), blocks)
    for row in (
        "| fedmx, mutual TLS | - | 1.2 | 600 |",
        "| 0.87 | 500 | 1 | 5.000 | 10.0 | 1.0 | 90 | 103.2 |",
        "| fedmx, without TLS | 25 | 2.50 | 4.00 | 80% | 50% |",
    ):
        assert row in page
    assert replace_blocks(page, blocks) == page


def test_a_page_without_a_block_is_named() -> None:
    with pytest.raises(ValueError, match="no block rounds"):
        replace_blocks("# A page\n", {"rounds": ""})


def test_the_plot_has_a_point_for_each_row_and_larger_values_are_further_up() -> None:
    panels = build_panels(ROWS)
    lines = re.findall(r'<polyline points="([^"]*)"', draw(panels, "a plot"))
    assert len(lines) == len(panels) == 2
    for line in lines:
        places = [tuple(map(float, place.split(","))) for place in line.split()]
        assert [x for x, _ in places] == sorted(x for x, _ in places)
        assert [y for _, y in places] == sorted((y for _, y in places), reverse=True)
