from typing import Any

import pytest

from bench.bars import Measured, judge
from bench.big import Big
from bench.floor import Floor
from bench.outcome import Outcome
from bench.wan.crossing import Crossing

MODEL = 100_000_000


def outcome(engine: str, size: str, seconds: float, **more: Any) -> Outcome:
    return Outcome(engine, size, 1.0, [seconds], **more)


def verdicts(measured: Measured) -> list[bool]:
    return [bar.is_met for bar in judge(measured)]


def test_without_measurements_there_are_no_targets() -> None:
    assert judge(Measured()) == []


@pytest.mark.parametrize(
    ("link", "tls", "expected"),
    [
        pytest.param(0.8, 1.0, [True, True], id="both met"),
        pytest.param(0.81, 1.01, [False, False], id="both missed"),
    ],
)
def test_small_rounds_are_compared_with_the_deprecated_server(
    link: float, tls: float, expected: list[bool]
) -> None:
    outcomes = [
        outcome("link", "small", link),
        outcome("tls", "small", tls),
        outcome("deprecated", "small", 1),
    ]
    assert verdicts(Measured(outcomes)) == expected


@pytest.mark.parametrize(
    ("link", "tls", "expected"),
    [
        pytest.param(2.2, 3.0, [True, True], id="as much as allowed"),
        pytest.param(2.3, 3.1, [False, False], id="more than allowed"),
    ],
)
def test_large_rounds_are_compared_with_the_floor(link: float, tls: float, expected: list[bool]) -> None:
    outcomes = [outcome("link", "large", link), outcome("tls", "large", tls)]
    assert verdicts(Measured(outcomes, [Floor("large", 0.75, 0.25)])) == expected


def test_memory_over_base_is_compared_between_2_and_20_nodes() -> None:
    rows = [
        outcome("link", "large", 1, nodes=nodes, base_rss=50, peak_rss=50 + peak)
        for nodes, peak in ((2, 4 * MODEL), (20, 5 * MODEL))
    ]
    # Five models, but a quarter more than with two nodes.
    assert verdicts(Measured(scale=rows)) == [True, False]


def test_seconds_per_node_may_grow_by_half_from_50_to_500_nodes() -> None:
    rows = [outcome("link", "small", 1.0, nodes=50), outcome("link", "small", 16.0, nodes=500)]
    assert verdicts(Measured(scale=rows)) == [False]


def test_each_direction_of_the_long_line_has_a_target() -> None:
    crossings = [Crossing("raw TCP", 100, 1.0, 1.0), Crossing("link", 100, 1.1, 1.3)]
    assert verdicts(Measured(wan=crossings)) == [True, False]


def test_what_2_gb_may_take_depends_on_the_machines_floor() -> None:
    big = Big(outcome("link", "huge", 15.0, nodes=1), Floor("huge", 1.0, 1.0))
    slow, fast = (Measured(floors=[Floor("large", floor, 0.0)], big=big) for floor in (0.30, 0.15))
    assert [verdicts(slow), verdicts(fast)] == [[True], [False]]
