"""A TLS problem counts once it has lasted."""

from dataclasses import dataclass

import pytest

from fedmx.pki.tls_patience import TlsPatience


@dataclass
class Clock:
    """A clock that the test sets."""

    now: float = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def test_the_third_observation_of_one_problem_is_lasting_after_two_seconds(clock: Clock) -> None:
    patience = TlsPatience(clock)
    assert not patience.note("no such name")
    clock.now += 1.9
    assert not patience.note("no such name")
    assert not patience.note("no such name"), "three times, but too soon"
    clock.now += 0.1
    assert patience.note("no such name")


@pytest.mark.parametrize("problems", [["a", "a"], ["a", "b", "a", "b"], ["a", "a", None, "a"], [None] * 5])
def test_a_problem_that_comes_and_goes_never_is(problems: list[str | None], clock: Clock) -> None:
    patience = TlsPatience(clock)
    for problem in problems:
        assert not patience.note(problem)
        clock.now += 10
