"""Numbers, times and curves as text."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.watching.figures import draw_curve, show_duration, show_figure


def test_a_curve_goes_from_the_lowest_bar_to_the_highest_with_gaps() -> None:
    assert draw_curve([0.0, None, 3.5, 7.0], 10) == "▁ ▅█"
    assert draw_curve([1.0, 1.0], 10) == "▅▅"
    assert draw_curve([None], 10) == draw_curve([], 10) == ""


def test_neighbours_are_averaged_where_a_curve_is_too_long() -> None:
    assert draw_curve([0.0, 0.0, 1.0, 1.0, 0.0, 2.0, None, 7.0], 4) == "▁▂▂█"


@given(st.lists(st.none() | st.floats(allow_nan=False, allow_infinity=False)), st.integers(1, 50))
def test_a_curve_has_at_most_its_width(values: list[float | None], width: int) -> None:
    assert len(draw_curve(values, width)) == min(len(values), width) * any(v is not None for v in values)
    assert draw_curve(values, width, is_ascii=True).isascii()


@pytest.mark.parametrize(
    ("seconds", "shown"), [(0.0, "0:00:00"), (59.9, "0:00:59"), (3661.0, "1:01:01"), (-5.0, "0:00:00")]
)
def test_durations_have_hours_minutes_and_seconds(seconds: float, shown: str) -> None:
    assert show_duration(seconds) == shown


@pytest.mark.parametrize(
    ("value", "shown"), [(None, "-"), (0.25, "0.2500"), (-3.0, "-3.0000"), (1e9, "1e+09")]
)
def test_figures_have_four_decimals_unless_they_are_large(value: float | None, shown: str) -> None:
    assert show_figure(value) == shown
