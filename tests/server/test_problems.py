"""Settings of the server that are valid by themselves, and not together."""

from typing import Any

import pytest

from fedmx.goals import Target
from fedmx.schedule import LearningRateSchedule
from fedmx.settings import ServerSettings
from server.problems import find_problems


@pytest.mark.parametrize(
    ("schedule", "rounds", "is_valid"),
    [
        ("cosine:5", 5, True),
        ("cosine:5", 6, False),
        ("cosine:5:0.1", 6, True),
        ("warmup:1+cosine:5", 6, True),
        ("step:1:0.1", 28, True),
        ("step:1:0.1", 40, False),
        ("constant", 2**62, True),
    ],
)
def test_a_schedule_with_a_rate_that_is_too_small_is_rejected_with_the_round(
    schedule: str, rounds: int, *, is_valid: bool
) -> None:
    settings = ServerSettings(lr_schedule=LearningRateSchedule.parse(schedule), num_rounds=rounds)
    found = find_problems(settings)
    assert len(found) == (not is_valid)
    for line in found:
        assert line.startswith(f"LR_SCHEDULE={schedule}: ")
        assert f"in round {rounds} of NUM_ROUNDS={rounds}" in line


@pytest.mark.parametrize(("schedule", "is_valid"), [("constant", True), ("warmup:2", False)])
def test_a_schedule_that_an_argument_of_the_optimizer_would_override_is_rejected(
    schedule: str, *, is_valid: bool
) -> None:
    settings = ServerSettings(
        lr_schedule=LearningRateSchedule.parse(schedule), optimizer_args={"learning_rate": 0.5}
    )
    found = find_problems(settings)
    assert len(found) == (not is_valid)
    for line in found:
        assert line.startswith(f"LR_SCHEDULE={schedule}: ")
        assert "OPTIMIZER_ARGS" in line


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"max_epsilon": 5.0}, ["MAX_EPSILON=5: "]),
        ({"max_epsilon": 0.1, "dp_mode": "dp-fixed"}, ["MAX_EPSILON=0.1: round 1 spends "]),
        ({"max_epsilon": 50.0, "dp_mode": "dp-fixed"}, []),
        ({"patience": 3, "strategy_args": {"fraction_evaluate": 0.5}}, ["PATIENCE=3: "]),
        (
            {"target": Target.parse("f1>=0.5"), "strategy_args": {"fraction_evaluate": 0}},
            ["TARGET=f1>=0.5: "],
        ),
        ({"patience": 3, "strategy_args": {"fraction_evaluate": 1.0}}, []),
        # What is wrong with the strategy is reported alone.
        ({"patience": 3, "strategy_args": {"fraction_evaluate": "x"}}, ["STRATEGY_ARGS: "]),
    ],
)
def test_a_run_that_could_not_stop_as_asked_is_refused(settings: dict[str, Any], expected: list[str]) -> None:
    found = find_problems(ServerSettings(**settings))
    assert len(found) == len(expected)
    for line, start in zip(found, expected, strict=True):
        assert line.startswith(start)


def test_a_warmup_that_starts_with_a_rate_that_is_too_small_is_rejected_with_round_1() -> None:
    schedule = LearningRateSchedule.parse("warmup:100")
    [line] = find_problems(ServerSettings(learning_rate=1e-29, lr_schedule=schedule, num_rounds=200))
    assert "in round 1 of NUM_ROUNDS=200" in line
