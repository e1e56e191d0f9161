"""An aggregation that fails leaves everything as it was, so that trying again is fair."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from fedmx.errors import TrainingFailedError
from server import strategies
from tests.server.local_grid import Table
from tests.server.nodes import GOOD, Config, LostError, Metrics, NullNode, Values, lose, shift, unpack


def make_table(strategy: str, **settings: Any) -> Table:
    """Build a run whose last node's updates are all lost: without it, a failed round is not tried again."""
    nodes = [*(NullNode(shift(by)) for by in (1.0, 2.0, 4.0, 8.0, 16.0, 32.0)), NullNode(lose)]
    arguments = {"fedavgm": {"server_momentum": 0.9}}.get(strategy, {})
    return Table(nodes, strategy=strategy, strategy_args=arguments, min_updates=6, **settings)


def train_three_rounds(table: Table) -> Values:
    for number in (1, 2, 3):
        table.train_round(number)
    return unpack(table.model.arrays)


class FailsAfterwards:
    """A layout whose merge refuses what it is given at first: the strategy has moved its state by then."""

    def __init__(self, table: Table) -> None:
        self._layout = table.model.layout
        self.refusals = 2

    def __getattr__(self, name: str) -> Any:
        return getattr(self._layout, name)

    def merge(self, *arrays: Any) -> Any:
        self.refusals -= 1
        if self.refusals >= 0:
            raise ValueError("not this time")
        return self._layout.merge(*arrays)


@pytest.mark.parametrize("strategy", strategies.NAMES)
def test_a_second_try_gives_what_the_first_would_have(strategy: str) -> None:
    expected = train_three_rounds(make_table(strategy))
    table = make_table(strategy)
    table.model.layout = failing = FailsAfterwards(table)  # type: ignore[assignment]  # stands in for it
    tried_again = train_three_rounds(table)
    assert failing.refusals < 0
    np.testing.assert_array_equal(tried_again["0.weight"], expected["0.weight"])
    assert [len(sent) for sent in table.grid.sent[:3]] == [7, 1, 1], "the others were admitted at first"


def test_an_adaptive_clipping_norm_moves_once_a_round() -> None:
    quiet = {"noise_multiplier": 1e-6, "clipped_count_stddev": 1e-4, "clip_norm_lr": 1.0}
    table = make_table("fedavg", dp_mode="dp-adaptive", dp_args=quiet)
    table.model.layout = FailsAfterwards(table)  # type: ignore[assignment]  # stands in for it
    table.train_round()
    # All were longer: 0.1 * exp(1 - 0.5)
    assert table.strategy.clipping_norm == pytest.approx(0.1 * np.exp(0.5), rel=1e-3)


def test_a_strategy_that_returns_no_arrays_fails_the_round() -> None:
    table = Table([NullNode()] * 3, strategy="bulyan")
    # With fewer updates than it needs, it silently returns nothing.
    table.loop = replace(table.loop, plan=replace(table.plan, least_nodes=1))
    table.strategy.num_malicious_nodes = 1
    before = unpack(table.model.arrays)
    with pytest.raises(TrainingFailedError) as caught:
        table.train_round()
    expected = "round 1 failed: the strategy Bulyan returned no arrays for 3 updates"
    assert str(caught.value) == expected
    np.testing.assert_array_equal(unpack(table.model.arrays)["0.weight"], before["0.weight"])


def test_bulyan_with_too_few_updates_fails_the_round_with_the_number() -> None:
    nodes = [NullNode() for _ in range(7)]
    nodes[3].train = shift(1.0, **{"num-examples": 0})
    table = Table(nodes, strategy="bulyan", strategy_args={"num_malicious_nodes": 1}, min_updates=2)
    with pytest.raises(TrainingFailedError) as caught:
        table.train_round()
    assert str(caught.value) == (
        "round 1 failed: 6 updates admitted, 7 needed:"
        " node 3: num-examples is 0, expected a positive number up to 2**53"
    )


def test_nodes_that_left_between_rounds_are_missed_by_the_next() -> None:
    table = Table([NullNode(), NullNode(), NullNode()], min_updates=2)
    del table.grid.nodes[2]
    table.train_round(1)
    del table.grid.nodes[1]
    with pytest.raises(TrainingFailedError) as caught:
        table.train_round(2)
    expected = "round 2 failed 3 times, the last time: 1 updates admitted, 2 needed: nodes present: 1"
    assert str(caught.value) == expected


def test_a_cause_that_repeats_is_logged_once_before_the_error(caplog: pytest.LogCaptureFixture) -> None:
    table = Table([NullNode(), NullNode()])
    del table.grid.nodes[1]
    with pytest.raises(TrainingFailedError, match="3 times"):
        table.train_round()
    retries = [record.getMessage() for record in caplog.records if "retrying" in record.getMessage()]
    assert ["attempt=1" in retries[0], "attempt=2" in retries[1], len(retries)] == [True, True, 2]
    assert ["updates admitted" in line for line in retries] == [True, False]


def test_a_cause_that_differs_is_logged_again(caplog: pytest.LogCaptureFixture) -> None:
    attempts = iter("abc")

    def lose_again(_: Values, __: Config) -> tuple[Values, Metrics]:
        raise LostError(next(attempts))

    table = Table([NullNode(), NullNode(lose_again)])
    with pytest.raises(TrainingFailedError, match="3 times"):
        table.train_round()
    retries = [record.getMessage() for record in caplog.records if "retrying" in record.getMessage()]
    assert ["updates admitted" in line for line in retries] == [True, True]


def test_a_node_that_comes_back_between_attempts_saves_the_round() -> None:
    table: Table

    def come_back(values: Values, config: Config) -> tuple[Values, Metrics]:
        table.grid.nodes[1] = NullNode(shift(3.0))
        return shift(1.0)(values, config)

    table = Table([NullNode(come_back), NullNode()])
    del table.grid.nodes[1]
    table.train_round()
    assert unpack(table.model.arrays)["0.weight"][0, 0] == 2.0


def test_what_a_strategy_raises_is_the_cause() -> None:
    table = Table([NullNode(shift(1.0, loss=-1.0))], strategy="qfedavg")
    with np.errstate(invalid="ignore"), pytest.raises(TrainingFailedError) as caught:
        table.train_round()
    assert str(caught.value) == (
        "round 1 failed: aggregation gave values that are not finite in array '0.weight'"
    )


def test_an_average_that_overflows_is_no_model() -> None:
    def train(values: Values, _: Any) -> tuple[Values, Any]:
        return {name: value + np.float32(3e38) for name, value in values.items()}, GOOD

    table = Table([NullNode(train)] * 2, strategy="fedavgm", strategy_args={"server_learning_rate": 2.0})
    with np.errstate(over="ignore"), pytest.raises(TrainingFailedError, match="values that are not finite"):
        table.train_round()
    assert unpack(table.model.arrays)["0.weight"].tolist() == [[0.0] * 3] * 2
