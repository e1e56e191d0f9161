"""The learning rate by round: what schedules return, compared with numbers computed by hand."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedmx.schedule import LearningRateSchedule

rounds = st.integers(1, 10**9)
shares = st.floats(1e-9, 1)
decays = st.one_of(
    st.just("constant"),
    st.builds("step:{}:{}".format, rounds, shares),
    st.builds("cosine:{}".format, rounds),
    st.builds("cosine:{}:{}".format, rounds, shares),
)
schedules = st.one_of(
    decays, st.builds("warmup:{}".format, rounds), st.builds("warmup:{}+{}".format, rounds, decays)
)


def factors(text: str, count: int) -> list[float]:
    schedule = LearningRateSchedule.parse(text)
    return [schedule.factor(number) for number in range(1, count + 1)]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("constant", [1, 1, 1]),
        ("step:2:0.5", [1, 1, 0.5, 0.5, 0.25]),
        ("step:1:1", [1, 1, 1]),
        # (1 + cos(pi * 0 / 3)) / 2, of pi / 3 and of 2 pi / 3.
        ("cosine:3", [1, 0.75, 0.25, 0, 0]),
        ("cosine:2:0.2", [1, 0.6, 0.2, 0.2]),
        ("warmup:4", [0.25, 0.5, 0.75, 1, 1]),
        ("warmup:2+step:1:0.1", [0.5, 1, 1, 0.1, 0.01]),
        ("warmup:1+cosine:2", [1, 1, 0.5, 0]),
        ("warmup:2+constant", [0.5, 1, 1]),
    ],
)
def test_a_schedule_is_a_factor_for_each_round(text: str, expected: list[float]) -> None:
    assert factors(text, len(expected)) == pytest.approx(expected, abs=1e-15)


def test_a_constant_rate_is_exactly_the_rate() -> None:
    assert factors("constant", 3) == [1.0, 1.0, 1.0]


@given(schedules)
def test_every_schedule_is_parsed_from_its_text(text: str) -> None:
    schedule = LearningRateSchedule.parse(text)
    assert LearningRateSchedule.parse(str(schedule)) == schedule


@given(schedules, rounds)
def test_a_factor_is_never_above_one_and_never_rises_after_the_warmup(text: str, number: int) -> None:
    schedule = LearningRateSchedule.parse(text)
    assert 0 <= schedule.factor(number) <= 1
    later = schedule.warmup + number
    assert schedule.factor(later + 1) <= schedule.factor(later)


def test_a_schedule_is_printed_as_it_was_written() -> None:
    texts = ["constant", "step:10:0.1", "cosine:20", "cosine:20:0.01", "warmup:3", "warmup:3+cosine:20"]
    assert [str(LearningRateSchedule.parse(text)) for text in texts] == texts


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("linear", "constant, step:EVERY:FACTOR"),
        ("constant:1", "constant, step:EVERY:FACTOR"),
        ("step:2", "step:EVERY:FACTOR"),
        ("step:0:0.1", "an integer of at least 1 in step:0:0.1"),
        ("step:2:0", "a number above 0 and at most 1 in step:2:0"),
        ("step:2:1.5", "at most 1"),
        ("cosine:-1", "an integer of at least 1 in cosine:-1"),
        ("cosine:5:2", "at most 1"),
        ("warmup", "an integer of at least 1 in warmup"),
        ("warmup:2+warmup:3", "constant, step:EVERY:FACTOR"),
        ("cosine:5+warmup:2", "warmup:ROUNDS"),
        ("step:2:0.1+cosine:3", "warmup:ROUNDS"),
        ("warmup:1+step:2:0.1+cosine:3", "warmup:ROUNDS"),
        ("warmup:1+", "constant, step:EVERY:FACTOR"),
    ],
)
def test_an_invalid_schedule_is_rejected_with_what_was_expected(text: str, expected: str) -> None:
    with pytest.raises(ValueError, match="expected") as caught:
        LearningRateSchedule.parse(text)
    assert expected in str(caught.value)
