"""A repeated warning is one line, and then a count."""

import io
import itertools
from dataclasses import dataclass

import pytest

from fedmx.link.repeats import Repeats


@dataclass
class Clock:
    """A clock that the test sets."""

    now: float = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def repeats(clock: Clock) -> Repeats:
    return Repeats(clock)


def lines(log: io.StringIO) -> list[str]:
    """Return the lines since the previous call, without time and level."""
    found = [line.split("WARNING ", 1)[1] for line in log.getvalue().splitlines()]
    log.truncate(0)
    log.seek(0)
    return found


def test_the_first_warning_is_logged_at_once_and_repetitions_are_counted_every_five_minutes(
    repeats: Repeats, clock: Clock, log: io.StringIO
) -> None:
    for second in range(0, 328, 8):
        clock.now = second
        repeats.warn("x", "refused", node="x", port=second)
        if second == 0:
            assert lines(log) == ["refused node=x port=0"]
    assert lines(log) == ["refused node=x port=296 times=37 in_s=304"]
    clock.now = 650
    repeats.report()
    assert lines(log) == ["refused node=x port=320 times=3 in_s=346"]


def test_each_cause_is_counted_separately(repeats: Repeats, clock: Clock, log: io.StringIO) -> None:
    for key in "xyxxy":
        repeats.warn(key, "refused", node=key)
    assert lines(log) == ["refused node=x", "refused node=y"]
    clock.now = 300
    repeats.report()
    assert lines(log) == ["refused node=x times=2 in_s=300", "refused node=y times=1 in_s=300"]


def test_a_cause_that_pauses_for_a_period_is_logged_at_once_when_it_returns(
    repeats: Repeats, clock: Clock, log: io.StringIO
) -> None:
    repeats.warn("x", "refused")
    clock.now = 299
    repeats.warn("x", "refused")
    assert lines(log) == ["refused"]
    clock.now = 301
    repeats.warn("x", "refused")
    assert lines(log) == ["refused times=1 in_s=301"]
    clock.now = 2000
    repeats.report()
    lines(log)
    clock.now = 3000
    repeats.warn("x", "refused")
    assert lines(log) == ["refused"]


def test_counted_warnings_can_be_logged_before_the_period_is_over(
    repeats: Repeats, clock: Clock, log: io.StringIO
) -> None:
    repeats.warn("x", "refused")
    repeats.warn("x", "refused")
    clock.now = 7
    repeats.report_now()
    repeats.report_now()
    assert lines(log) == ["refused", "refused times=1 in_s=7"]


def test_endless_causes_fill_neither_the_memory_nor_the_log(
    repeats: Repeats, clock: Clock, log: io.StringIO
) -> None:
    names = itertools.count()
    for period in range(3):
        for _ in range(10_000):
            repeats.warn(next(names), "refused")
        assert len(repeats._causes) == 256
        clock.now = 300 * (period + 1)
        repeats.report()
        assert lines(log) == ["refused"] * 256 + ["warnings of too many other causes times=9744 in_s=300"]
    assert len(repeats._causes) == 0
