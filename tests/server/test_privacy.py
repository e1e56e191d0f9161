"""Clipping, noise and accounting, against arithmetic by hand.

Bounds on random values are six standard errors wide or wider: a right program leaves them once in 500 million
runs.
"""

import importlib
import math
from typing import Any

import numpy as np
import pytest
from flwr.app import Array, ArrayRecord
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray

from fedmx import arrays
from server import privacy
from server.layout import Layout
from tests.server.federation import Federation
from tests.server.local_grid import Table
from tests.server.nodes import GOOD, NullNode, keep, pack, shift, unpack


def record(**values: Any) -> ArrayRecord:
    return pack({name: np.array(value, np.float32) for name, value in values.items()})


def test_an_update_is_shortened_over_all_its_arrays_together() -> None:
    start = record(a=[1.0, 1.0], b=[[2.0]])
    clipped, was_longer = privacy.clip(record(a=[4.0, 1.0], b=[[6.0]]), start, 1.0)
    assert was_longer  # it went 3 and 4, which is 5 together
    values = unpack(clipped)
    np.testing.assert_allclose(values["a"], [1.6, 1.0], rtol=1e-6)
    np.testing.assert_allclose(values["b"], [[2.8]], rtol=1e-6)
    assert values["a"].dtype == np.float32


def test_an_update_that_is_short_enough_is_not_touched() -> None:
    start, update = record(a=[0.0, 0.0]), record(a=[3.0, 4.0])
    assert privacy.clip(update, start, 5.0) == (update, False)
    assert privacy.clip(start, start, 1e-300) == (start, False)


def test_a_scalar_is_clipped_like_any_array() -> None:
    clipped, _ = privacy.clip(record(a=100.0), record(a=0.0), 1.0)
    assert arrays.view(clipped["a"]).tolist() == 1.0


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_a_clipped_array_keeps_its_dtype(dtype: type) -> None:
    start = pack({"a": np.zeros(2, dtype), "b": np.zeros((), dtype)})
    clipped, was_longer = privacy.clip(
        pack({"a": np.array([3, 4], dtype), "b": np.ones((), dtype)}), start, 1.0
    )
    assert was_longer
    assert {name: values.dtype for name, values in unpack(clipped).items()} == {"a": dtype, "b": dtype}


@pytest.mark.parametrize("mode", ["dp-fixed", "dp-adaptive"])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_noise_changes_no_dtype(mode: str, dtype: type, monkeypatch: pytest.MonkeyPatch) -> None:
    table = Table([NullNode(initial={"w": np.zeros(3, dtype)}) for _ in range(6)], dp_mode=mode)
    seen = []
    finish = Layout.finish

    def watch(layout: Layout, name: str, array: Array) -> Array:
        seen.append(arrays.view(array))
        return finish(layout, name, array)

    monkeypatch.setattr(Layout, "finish", watch)
    table.train_round()
    [values] = seen
    assert values.dtype == dtype
    assert values.all(), "every value has noise"


def test_the_largest_floats_are_clipped_and_not_overflowed() -> None:
    largest = float(np.finfo(np.float32).max)
    clipped, _ = privacy.clip(record(a=[largest, -largest]), record(a=[-largest, largest]), 1.0)
    assert np.isfinite(arrays.view(clipped["a"])).all()


@given(
    hnp.arrays(np.float32, 5, elements=st.floats(-1e6, 1e6, width=32)),
    st.floats(1e-3, 1e7),
)
def test_a_clipped_update_is_never_longer_and_points_the_same_way(
    change: NDArray[np.float32], norm: float
) -> None:
    start = pack({"a": np.zeros(3, np.float32), "b": np.zeros(2, np.float32)})
    clipped, was_longer = privacy.clip(pack({"a": change[:3], "b": change[3:]}), start, norm)
    result = np.concatenate(list(unpack(clipped).values())).astype(np.float64)
    length = float(np.linalg.norm(change.astype(np.float64)))
    assert was_longer == (length > norm)
    np.testing.assert_allclose(
        result, change * min(1.0, norm / length if length else 1.0), rtol=1e-5, atol=1e-30
    )
    assert np.linalg.norm(result) <= norm * (1 + 1e-6)


# So little noise that sums by hand are not disturbed.
QUIET = {"noise_multiplier": 1e-6}


def towards(*values: float, examples: int = 10) -> NullNode:
    target = {"w": np.array(values, np.float32)}
    return NullNode(
        lambda _, __: (target, GOOD | {"num-examples": examples}),
        initial={"w": np.zeros(len(values), np.float32)},
    )


@pytest.mark.parametrize("strategy", ["fedavg", "fedprox"])
def test_clipped_updates_are_averaged_with_equal_weights(federation: Federation, strategy: str) -> None:
    nodes = {"long": towards(3.0, 4.0, examples=1000), "short": towards(0.3, 0.4)}
    federation.run(nodes, strategy=strategy, dp_mode="dp-fixed", dp_args=QUIET | {"clipping_norm": 1.0})
    # (3, 4) becomes (0.6, 0.8), and (0.3, 0.4) stays.
    np.testing.assert_allclose(federation.model["w"], [0.45, 0.6], atol=1e-4)
    assert [node["examples"] for node in federation.history[0]["nodes"]] == [1000, 10]


WIDE = 30_000


def still() -> NullNode:
    """Make a node that changes nothing, so that noise is all there is to see."""
    return NullNode(initial={"w": np.zeros(WIDE, np.float32)})


def check_noise(values: NDArray[Any], stddev: float) -> None:
    assert abs(values.mean()) < 6 * stddev / math.sqrt(WIDE)
    assert abs(values.std() / stddev - 1) < 6 / math.sqrt(2 * WIDE)


def test_noise_is_calibrated_to_the_updates_that_were_admitted(federation: Federation) -> None:
    nodes = {name: still() for name in ("a", "b", "c", "bad")}
    nodes["bad"].train = shift(float("nan"))
    arguments = {"noise_multiplier": 2.0, "clipping_norm": 0.5}
    federation.run(nodes, min_clients=3, dp_mode="dp-fixed", dp_args=arguments)
    assert len(federation.history[0]["nodes"]) == 3
    check_noise(federation.model["w"], 2.0 * 0.5 / 3)


def test_updates_that_change_nothing_end_no_run(federation: Federation) -> None:
    federation.run({"a": NullNode(keep)}, num_rounds=2, dp_mode="dp-fixed")
    assert federation.facts["status"] == "finished"


def test_adaptive_noise_belongs_to_the_norm_that_clipped() -> None:
    table = Table(
        [still()] * 20, dp_mode="dp-adaptive", dp_args={"initial_clipping_norm": 0.25, "clip_norm_lr": 5.0}
    )
    table.train_round()
    # The multiplier 0.5 is shared with the count, whose noise is 20 / 20: (0.5 ** -2 - (2 * 1) ** -2) ** -0.5
    check_noise(unpack(table.model.arrays)["w"], 3.75**-0.5 * 0.25 / 20)
    assert table.strategy.clipping_norm < 0.1, "nobody was clipped, so the norm fell"


def adaptive_table(lengths: list[float], **arguments: float) -> Table:
    quiet = {"noise_multiplier": 1e-6, "clipped_count_stddev": 1e-4}
    nodes = [NullNode(shift(by), initial={"w": np.zeros(1, np.float32)}) for by in lengths]
    return Table(nodes, dp_mode="dp-adaptive", dp_args=quiet | arguments)


def test_the_adaptive_norm_moves_by_the_formula() -> None:
    table = adaptive_table(
        [10.0, 10.0, 10.0, 0.1], initial_clipping_norm=1.0, target_clipped_quantile=0.25, clip_norm_lr=0.4
    )
    table.train_round()
    # Three of four were longer: 1 * exp(0.4 * (0.75 - 0.25)); their sum is 1 + 1 + 1 + 0.1.
    assert table.strategy.clipping_norm == pytest.approx(math.exp(0.2), rel=1e-3)
    np.testing.assert_allclose(unpack(table.model.arrays)["w"], [3.1 / 4], atol=1e-4)


@pytest.mark.parametrize("initial", [0.01, 1000.0])
def test_the_adaptive_norm_settles_where_the_asked_share_is_clipped(initial: float) -> None:
    lengths = [float(length) for length in range(1, 11)]
    table = adaptive_table(
        lengths, initial_clipping_norm=initial, target_clipped_quantile=0.3, clip_norm_lr=0.5
    )
    for number in range(1, 80):
        table.train_round(number)
    assert 6.5 < table.strategy.clipping_norm < 8.5  # 8, 9 and 10 are longer


def test_adaptive_noise_is_the_same_with_fewer_updates_than_at_the_start(federation: Federation) -> None:
    nodes = {name: NullNode() for name in "abcdef"}
    nodes["f"].train = shift(1.0, **{"num-examples": 0})
    federation.run(nodes, min_clients=5, dp_mode="dp-adaptive")  # six nodes is the least for its defaults
    assert len(federation.history[0]["nodes"]) == 5


def renyi_epsilon(multiplier: float, rounds: int, delta: float, orders: list[float]) -> float:
    """Mironov 2017 (arXiv:1702.07476), converted as in Canonne et al. 2020 (arXiv:2004.00010)."""
    return min(
        rounds * order / (2 * multiplier**2) + math.log1p(-1 / order) - math.log(delta * order) / (order - 1)
        for order in orders
    )


@pytest.mark.parametrize("multiplier", [0.5, 1.0, 4.0])
def test_spent_privacy_is_that_of_the_gaussian_mechanism(multiplier: float) -> None:
    ledger = privacy.PrivacyAccountant(multiplier, delta=1e-5)
    # Not at the top: it takes a second, in every process that collects tests.
    accounting = importlib.import_module("dp_accounting")
    reference = importlib.import_module("dp_accounting.rdp").RdpAccountant()
    before = 0.0
    for rounds in range(1, 6):
        spent = ledger.spend()
        reference.compose(accounting.GaussianDpEvent(multiplier))
        assert spent["delta"] == 1e-5
        assert spent["epsilon"] == pytest.approx(reference.get_epsilon(1e-5))
        by_hand = renyi_epsilon(multiplier, rounds, 1e-5, [float(order) for order in reference.orders])
        assert spent["epsilon"] == pytest.approx(by_hand)
        # Never more than the simple bound of the best real order.
        simple = rounds / (2 * multiplier**2) + math.sqrt(2 * rounds * math.log(1e5)) / multiplier
        assert before < spent["epsilon"] <= 1.02 * simple
        before = spent["epsilon"]


@pytest.mark.parametrize("mode", ["dp-fixed", "dp-adaptive"])
def test_the_history_holds_what_was_spent_so_far(federation: Federation, mode: str) -> None:
    nodes = {f"node-{number}": NullNode() for number in range(6)}
    federation.run(nodes, num_rounds=3, dp_mode=mode, dp_args={"noise_multiplier": 0.5}, dp_delta=1e-4)
    spent = [line["privacy"] for line in federation.history]
    ledger = privacy.PrivacyAccountant(0.5, 1e-4)
    assert spent == [ledger.spend() for _ in range(3)]
    assert spent[0]["epsilon"] < spent[1]["epsilon"] < spent[2]["epsilon"]
