"""Settings of differential privacy that are refused, with the reason."""

from typing import Any

import pytest

from fedmx.errors import SettingsError
from fedmx.settings import ServerSettings
from server import strategies


def problems(**settings: Any) -> list[str]:
    with pytest.raises(SettingsError) as caught:
        strategies.build(ServerSettings(**settings))
    assert caught.value.exit_code == 2
    return caught.value.problems


@pytest.mark.parametrize(
    ("mode", "known"),
    [
        ("dp-fixed", "noise_multiplier, clipping_norm"),
        (
            "dp-adaptive",
            (
                "noise_multiplier, initial_clipping_norm, target_clipped_quantile, clip_norm_lr,"
                " clipped_count_stddev"
            ),
        ),
    ],
)
def test_an_unknown_argument_lists_the_known_ones(mode: str, known: str) -> None:
    assert problems(dp_mode=mode, dp_args={"epsilon": 1}) == [
        f"DP_ARGS: 'epsilon' is unknown; expected {known}"
    ]


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (0, "noise_multiplier=0: expected a number from 1e-6 to 1e6"),
        (1e200, "noise_multiplier=1e+200: expected a number from 1e-6 to 1e6"),
        ("1", "noise_multiplier='1': expected a number from 1e-6 to 1e6"),
        (True, "noise_multiplier=True: expected a number from 1e-6 to 1e6"),
    ],
)
def test_a_wrong_noise_multiplier_is_told(value: object, words: str) -> None:
    assert problems(dp_mode="dp-fixed", dp_args={"noise_multiplier": value}) == [f"DP_ARGS: {words}"]


@pytest.mark.parametrize("strategy", [name for name in strategies.NAMES if name not in ("fedavg", "fedprox")])
def test_noise_is_refused_where_it_would_not_be_calibrated(strategy: str) -> None:
    assert problems(min_clients=10, strategy=strategy, dp_mode="dp-fixed") == [
        (
            f"DP_MODE=dp-fixed: STRATEGY={strategy} is not a plain average, for which the noise is"
            " calibrated; expected fedavg or fedprox"
        )
    ]


def test_adaptive_clipping_with_too_few_nodes_is_refused_with_the_number() -> None:
    (problem,) = problems(dp_mode="dp-adaptive", num_partitions=10, strategy_args={"fraction_train": 0.5})
    assert problem.startswith("DP_ARGS with 5 nodes per round: noise_multiplier=0.5")
    assert "at least 6 nodes per round" in problem
    (problem,) = problems(dp_mode="dp-adaptive", num_partitions=10, dp_args={"noise_multiplier": 1.0})
    assert problem.startswith("DP_ARGS with 10 nodes per round: noise_multiplier=1.0")
    assert "at least 11 nodes per round" in problem


@pytest.mark.parametrize(
    ("nodes", "arguments"),
    [
        (6, {}),
        (11, {"noise_multiplier": 1.0}),
        (1, {"noise_multiplier": 1.0, "clipped_count_stddev": 0.51}),
    ],
)
def test_adaptive_clipping_starts_with_enough_nodes_or_enough_noise_on_the_count(
    nodes: int, arguments: dict[str, float]
) -> None:
    settings = ServerSettings(
        dp_mode="dp-adaptive", num_partitions=nodes, min_clients=nodes, dp_args=arguments
    )
    assert strategies.find_problems(settings) == []
    strategies.build(settings)
