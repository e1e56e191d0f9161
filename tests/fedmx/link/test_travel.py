"""For how long bytes have travelled, and which of that time counts."""

import pytest

from fedmx.link.travel import Travel, Where


def test_the_time_of_all_travels_is_added_up() -> None:
    now = [100.0]
    travel = Travel(clock=lambda: now[0])
    for where, seconds in ((Where.DOWN, 2.0), (Where.AT_REST, 30.0), (Where.UP, 5.0), (Where.UP, 1.0)):
        travel.go(where)
        now[0] += seconds
    assert travel.seconds == 8.0
    assert travel.is_on


def break_off(travel: Travel, now: list[float], where: Where, size: int, seconds: float) -> None:
    """Let a transfer wait for its turn for a second, then break after some seconds."""
    travel.go(where)
    now[0] += 1.0
    travel.go(where, size)
    now[0] += seconds
    travel.break_off()
    travel.break_off()


@pytest.mark.parametrize("where", [Where.DOWN, Where.UP], ids=["down", "up"])
def test_the_time_of_a_transfer_that_broke_counts_if_as_many_bytes_are_sent_again(where: Where) -> None:
    now = [100.0]
    travel = Travel(clock=lambda: now[0])
    break_off(travel, now, where, size=100, seconds=10.0)
    assert travel.seconds == 11.0, "it may have brought something"
    break_off(travel, now, where, size=60, seconds=20.0)
    assert travel.seconds == 11.0 + 21.0
    travel.go(where, 60)
    assert travel.seconds == 11.0 + 1.0
    travel.go(Where.AT_REST)
    other = Where.UP if where is Where.DOWN else Where.DOWN
    travel.go(other, 100)
    now[0] += 5.0
    assert travel.seconds == 17.0
