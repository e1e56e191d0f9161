"""What a run is judged by, from its text."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedmx.goals import BestMetric, Target

names = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._-]{0,20}", fullmatch=True)
bounds = st.floats(allow_nan=False, allow_infinity=False)


@given(names, st.sampled_from(["min", "max"]))
def test_every_best_metric_is_printed_as_it_was_written(name: str, direction: str) -> None:
    assert str(BestMetric.parse(f"{name}:{direction}")) == f"{name}:{direction}"


@given(names, st.sampled_from([">=", "<=", ">", "<"]), bounds)
def test_every_target_is_parsed_from_its_text(name: str, comparison: str, bound: float) -> None:
    target = Target.parse(f"{name}{comparison}{bound}")
    assert target == Target(name, comparison, bound)
    assert Target.parse(str(target)) == target


@pytest.mark.parametrize("text", ["accuracy", "accuracy:best", ":max", "a b:max", "", "max"])
def test_an_invalid_best_metric_is_rejected_with_what_was_expected(text: str) -> None:
    with pytest.raises(ValueError, match="expected METRIC:min or METRIC:max"):
        BestMetric.parse(text)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("accuracy", "such as accuracy>=0.99"),
        ("accuracy=0.99", "such as accuracy>=0.99"),
        ("accuracy==0.99", "such as accuracy>=0.99"),
        ("accuracy=>0.99", "such as accuracy>=0.99"),
        (">=0.99", "such as accuracy>=0.99"),
        ("a b>=1", "such as accuracy>=0.99"),
        ("accuracy>=", "such as accuracy>=0.99"),
        ("accuracy>=high", "a number after >="),
        ("loss<nan", "a number after <"),
        ("0.5<loss<1", "such as accuracy>=0.99"),
    ],
)
def test_an_invalid_target_is_rejected_with_what_was_expected(text: str, expected: str) -> None:
    with pytest.raises(ValueError, match="expected") as caught:
        Target.parse(text)
    assert expected in str(caught.value)


@pytest.mark.parametrize(
    ("text", "reached"),
    [("f1>=0.5", [0.5, 0.75]), ("f1>0.5", [0.75]), ("f1<=0.5", [0.25, 0.5]), ("f1 < 0.5", [0.25])],
)
def test_a_target_is_reached_on_its_side_of_the_bound(text: str, reached: list[float]) -> None:
    assert [value for value in (0.25, 0.5, 0.75) if Target.parse(text).is_reached(value)] == reached


def test_a_metric_is_better_in_one_direction_and_equal_is_not_better() -> None:
    assert BestMetric.parse("loss:min").is_better(0.25, 0.5)
    assert BestMetric.parse("accuracy:max").is_better(0.5, 0.25)
    for rule in (BestMetric("m"), BestMetric("m", is_higher_better=True)):
        assert not rule.is_better(0.5, 0.5)
