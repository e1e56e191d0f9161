"""How long a node waits for its server, how long it pauses between attempts, and when it logs that."""

import io
import math
import random
import re
from dataclasses import dataclass, field

import pytest

from fedmx.link.backoff import Backoff, Wait
from fedmx.values import Address


@dataclass
class Clock:
    """A clock that the test sets."""

    now: float = 1000.0
    reports: list[float] = field(default_factory=list)

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def wait_of(clock: Clock, timeout_s: float) -> Wait:
    return Wait(Address("server.example.org", 8080), timeout_s, clock)


def report_times(wait: Wait, clock: Clock, log: io.StringIO, until_s: int) -> list[int]:
    """Report every second; return after how many seconds a line was logged."""
    began = clock.now
    times = []
    for second in range(until_s + 1):
        clock.now = began + second
        before = log.getvalue().count("\n")
        wait.report()
        times += [second] * (log.getvalue().count("\n") - before)
    return times


def test_a_wait_is_logged_soon_then_less_often_but_at_least_every_five_minutes(
    clock: Clock, log: io.StringIO
) -> None:
    times = report_times(wait_of(clock, math.inf), clock, log, 1500)
    assert times == [5, 35, 95, 215, 455, 755, 1055, 1355]


@pytest.mark.parametrize(
    ("timeout_s", "left", "setting"),
    [
        (300.0, "remaining_s=295", "SERVER_WAIT_TIMEOUT=300"),
        (math.inf, "waited_s=5 cause=", "SERVER_WAIT_TIMEOUT=0"),
    ],
)
def test_its_line_names_address_time_setting_and_cause(
    timeout_s: float, left: str, setting: str, clock: Clock, log: io.StringIO
) -> None:
    wait = wait_of(clock, timeout_s)
    wait.cause = "Connection refused"
    clock.now += 5
    wait.report()
    address = "address=server.example.org:8080"
    for part in ("WARNING", address, "waited_s=5", left, setting, "Connection refused"):
        assert part in log.getvalue()


@pytest.mark.parametrize(("timeout_s", "is_over"), [(60.0, True), (math.inf, False), (1e10, False)])
def test_a_wait_ends_after_its_timeout_and_never_without_one(
    timeout_s: float, is_over: bool, clock: Clock
) -> None:
    wait = wait_of(clock, timeout_s)
    clock.now += 3e7
    assert (wait.left_s <= 0) is is_over


def test_a_restarted_wait_lasts_the_whole_time_and_is_logged_from_the_start(
    clock: Clock, log: io.StringIO
) -> None:
    wait = wait_of(clock, 300.0)
    report_times(wait, clock, log, 100)
    wait.restart()
    assert wait.left_s == 300.0
    assert report_times(wait, clock, log, 40) == [5, 35]


def test_the_error_names_the_setting_its_value_and_the_latest_cause(clock: Clock) -> None:
    wait = wait_of(clock, 2.5)
    wait.cause = "TLS: a certificate for something else"
    assert re.search(
        r"^SERVER_ADDRESS=server\.example\.org:8080: .* 2\.5 s \(SERVER_WAIT_TIMEOUT\): TLS: a certificate",
        str(wait.error()),
    )


def pauses(backoff: Backoff, slept: list[float], count: int) -> list[float]:
    for _ in range(count):
        backoff.pause()
    return slept[-count:]


def test_pauses_grow_up_to_two_seconds_with_jitter() -> None:
    slept: list[float] = []
    backoff = Backoff(slept.append)
    for pause, longest in zip(
        pauses(backoff, slept, 9), (0.1, 0.16, 0.256, 0.41, 0.656, 1.05, 1.68, 2.0, 2.0), strict=True
    ):
        assert longest / 2 * 0.99 <= pause <= longest * 1.01
    assert len({pause / 2.0 for pause in pauses(backoff, slept, 5)}) > 1


def test_pausing_leaves_the_random_numbers_of_the_users_task_alone() -> None:
    state = random.getstate()
    Backoff(lambda _: None).pause()
    assert random.getstate() == state


@pytest.mark.parametrize(("lasted_s", "longest"), [(2.0, 2.0), (2.1, 0.1)])
def test_only_a_connection_that_lasted_resets_the_pause(lasted_s: float, longest: float) -> None:
    slept: list[float] = []
    backoff = Backoff(slept.append)
    pauses(backoff, slept, 20)
    backoff.note_connection(lasted_s)
    (pause,) = pauses(backoff, slept, 1)
    assert longest / 2 <= pause <= longest
