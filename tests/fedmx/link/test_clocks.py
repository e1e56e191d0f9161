"""A jump of the wall clock is logged with the time of both clocks."""

import io
from dataclasses import dataclass

import pytest

from fedmx.link.clocks import Clocks


@dataclass
class Hands:
    """The seconds of both clocks."""

    wall: float = 1.7e9
    monotonic: float = 500.0

    def pass_by(self, wall_s: float, monotonic_s: float) -> None:
        self.wall += wall_s
        self.monotonic += monotonic_s


@pytest.fixture
def hands() -> Hands:
    return Hands()


@pytest.fixture
def clocks(hands: Hands) -> Clocks:
    return Clocks(lambda: hands.wall, lambda: hands.monotonic)


@pytest.mark.parametrize(
    ("wall_s", "shown"),
    [(400 * 86_400 + 2, "wall_s=34560002 "), (-86_400 + 2, "wall_s=-86398 "), (13.0, "wall_s=13 ")],
)
def test_a_jump_is_logged_once_with_the_time_of_both_clocks(
    wall_s: float, shown: str, hands: Hands, clocks: Clocks, log: io.StringIO
) -> None:
    hands.pass_by(wall_s, 2.0)
    clocks.check()
    assert log.getvalue().count("WARNING") == 1
    assert shown in log.getvalue()
    assert "monotonic_s=2\n" in log.getvalue()
    hands.pass_by(2.0, 2.0)
    clocks.check()
    assert log.getvalue().count("WARNING") == 1


def test_a_small_correction_or_a_late_check_is_not_a_jump(
    hands: Hands, clocks: Clocks, log: io.StringIO
) -> None:
    for wall_s, monotonic_s in ((3.5, 2.0), (0.5, 2.0), (3600.0, 3601.0)):
        hands.pass_by(wall_s, monotonic_s)
        clocks.check()
    assert log.getvalue() == ""


def test_repeated_jumps_are_one_line_and_a_count(hands: Hands, clocks: Clocks, log: io.StringIO) -> None:
    for _ in range(160):
        hands.pass_by(60.0, 2.0)
        clocks.check()
    assert log.getvalue().count("WARNING") == 2
    assert "times=148" in log.getvalue()
