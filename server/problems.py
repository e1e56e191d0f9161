"""Finds settings of the server that contradict each other, though each of them is valid by itself."""

import math
from collections.abc import Iterator

from fedmx import parsing
from fedmx.link.quorum import count_enough
from fedmx.settings import ServerSettings
from server import custom_strategy, privacy, strategies


def find_problems(settings: ServerSettings) -> list[str]:
    """Return a line for each problem; no strategy is built for it."""
    problems = strategies.find_problems(settings)
    stopping = () if problems else _find_problems_in_stopping(settings)
    quorum = () if problems else _find_problems_in_quorum(settings)
    return [*problems, *_find_problems_in_schedule(settings), *stopping, *quorum]


def _find_problems_in_schedule(settings: ServerSettings) -> Iterator[str]:
    """Yield why the learning rates of a schedule would not be used, or be too small to train with."""
    is_scheduled = settings.lr_schedule != ServerSettings.lr_schedule
    if is_scheduled and "learning_rate" in settings.optimizer_args:
        yield (
            f"LR_SCHEDULE={settings.lr_schedule}: learning_rate in OPTIMIZER_ARGS takes precedence in every"
            " round; expected LEARNING_RATE instead of it"
        )
    # The rate rises during the warm-up and never afterwards, so it is smallest in the first or last round.
    for number in sorted({1, settings.num_rounds}):
        rate = settings.learning_rate_in(number)
        if not parsing.is_float32(rate):
            yield (
                f"LR_SCHEDULE={settings.lr_schedule}: the learning rate is {rate:g} in round {number} of"
                f" NUM_ROUNDS={settings.num_rounds}; expected a schedule in which it stays above"
                f" {parsing.SMALLEST_FLOAT32:g}"
            )


def _find_problems_in_stopping(settings: ServerSettings) -> Iterator[str]:
    """Yield why a run could not stop as the settings ask, or not begin; the strategy's are valid already."""
    limit = settings.max_epsilon
    if limit and settings.dp_mode == "off":
        yield (
            f"MAX_EPSILON={limit:g}: no epsilon is spent with DP_MODE=off; expected DP_MODE=dp-fixed or"
            " dp-adaptive"
        )
    elif limit and (first := privacy.spend_of_round(settings)) > limit:
        yield (
            f"MAX_EPSILON={limit:g}: round 1 spends {first:.4g} already; expected at least that, or a larger"
            " noise_multiplier in DP_ARGS"
        )
    fraction = settings.strategy_args.get("fraction_evaluate", 1)
    if fraction == 1 or custom_strategy.is_custom(settings.strategy):
        return
    for name, value in (("TARGET", settings.target), ("PATIENCE", settings.patience)):
        if value:
            yield (
                f"{name}={value}: needs every node's evaluation, and STRATEGY_ARGS has"
                f" fraction_evaluate={fraction}; expected 1"
            )


def _find_problems_in_quorum(settings: ServerSettings) -> Iterator[str]:
    """Yield why a quorum would be too few updates; without NUM_PARTITIONS, its size is not known yet."""
    nodes = settings.num_partitions
    # A strategy that asks fewer nodes lowers the minimum too.
    if settings.quorum == 1 or not nodes or settings.strategy_args.get("fraction_train", 1) != 1:
        return
    count = count_enough(settings.quorum, nodes)
    least = settings.least_updates
    if count < least:
        name = "MIN_UPDATES" if settings.min_updates else "MIN_CLIENTS"
        yield (
            f"QUORUM={settings.quorum:g}: {count} of NUM_PARTITIONS={nodes} nodes, but a round needs"
            f" {name}={least} updates; expected at least {math.ceil(100 * least / nodes) / 100:g}, or"
            f" MIN_UPDATES={count}"
        )
