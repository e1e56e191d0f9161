"""Arrays that no node trains: they are sent only to nodes without them, and never change."""

from typing import Any

import numpy as np
import pytest
from flwr.app import ConfigRecord

from fedmx import arrays
from fedmx.link.member import NodeView
from server.frozen_arrays import FrozenArrays
from server.layout import Layout
from server.record import checkpoint
from tests.fedmx.test_array_store import find_files
from tests.server.federation import Federation
from tests.server.nodes import GOOD, Config, Metrics, NullNode, Values, pack

START: Values = {
    "head": np.zeros(3, np.float32),
    # Neither a mean of equal values nor a float64 in between would return these bits.
    "body": np.array([0.1, 1e-45, 3e38, -0.0], np.float32),
    "running_mean": np.zeros(2, np.float32),
}
UPDATED = ("head", "running_mean")
DIGEST = arrays.sha256(pack({"body": START["body"]}))


def train(values: Values, _: Config) -> tuple[Values, Metrics]:
    return {name: values[name] + np.float32(1) for name in values if name != "body"}, GOOD


def make_node(**others: Any) -> NullNode:
    return NullNode(train, initial=dict(START), running=("running_mean",), frozen=("body",), **others)


@pytest.mark.parametrize(
    "settings", [{}, {"strategy": "fedadam"}, {"strategy": "fedmedian"}, {"strategy": "qfedavg"}]
)
def test_frozen_arrays_are_bit_identical_at_the_end_and_never_sent(
    federation: Federation, settings: dict[str, Any]
) -> None:
    nodes = {name: make_node() for name in "abc"}
    federation.run(nodes, num_rounds=3, **settings)
    assert list(federation.model) == list(START)
    assert federation.model["body"].tobytes() == START["body"].tobytes()
    assert federation.model["head"][0] != 0
    assert federation.model["running_mean"].tolist() == [3, 3]
    folder = federation.folder / checkpoint.FOLDER
    for number in checkpoint.list_rounds(folder):
        kept = checkpoint.load(checkpoint.path_of(folder, number)).arrays
        assert arrays.raw_bytes(kept["body"]) == START["body"].tobytes()
    for node in nodes.values():
        assert node.received == [UPDATED] * 6, "three rounds of two steps"
        assert {config["frozen-sha256"] for step, _, config in node.asked if step != "query"} == {DIGEST}


def test_a_node_with_other_frozen_arrays_receives_the_models_with_every_message(
    federation: Federation,
) -> None:
    holder, other = make_node(), make_node(description={"frozen-sha256": ""})
    federation.run({"a": holder, "b": other}, num_rounds=2)
    assert other.received == [tuple(START)] * 4
    assert holder.received == [UPDATED] * 4
    assert len(federation.history[-1]["nodes"]) == 2


def test_an_update_that_contains_a_frozen_array_is_rejected(federation: Federation) -> None:
    def train_all(values: Values, config: Config) -> tuple[Values, Metrics]:
        return train(values, config)[0] | {"body": START["body"]}, GOOD

    wrong = make_node()
    wrong.train = train_all
    federation.run({"a": make_node(), "b": wrong}, min_updates=1)
    [refusal] = federation.history[0]["rejected"]
    assert (refusal["name"], refusal["step"]) == ("b", "train")
    assert "'body' is frozen" in refusal["reason"]


def test_messages_have_no_frozen_digest_if_nothing_is_frozen(federation: Federation) -> None:
    node = NullNode()
    federation.run({"a": node})
    assert "frozen-sha256" not in node.asked_to("train")[0]


def test_privacy_accepts_a_model_whose_other_arrays_are_frozen(federation: Federation) -> None:
    start = {name: START[name] for name in ("head", "body")}
    node = NullNode(train, initial=start, frozen=("body",))
    federation.run({"a": node}, num_rounds=2, dp_mode="dp-fixed")
    assert federation.model["body"].tobytes() == START["body"].tobytes()
    assert node.received == [("head",)] * 4


def test_a_resumed_run_does_not_send_frozen_arrays_to_nodes_that_have_them(federation: Federation) -> None:
    def fail_in_round_2(values: Values, config: Config) -> tuple[Values, Metrics]:
        if config["server-round"] == 2:
            raise ZeroDivisionError("once")
        return train(values, config)

    failing = make_node()
    failing.train = fail_in_round_2
    with pytest.raises(Exception, match="round 2 failed"):
        federation.run({"a": failing}, num_rounds=2)
    holder = make_node()
    federation.run({"a": holder}, num_rounds=2)
    assert holder.received == [UPDATED] * 2
    assert len(federation.facts["resumed"]) == 1
    assert federation.model["body"].tobytes() == START["body"].tobytes()
    assert federation.model["head"].tolist() == [2, 2, 2]


LAYOUT = Layout(
    {name: (value.dtype.name, value.shape) for name, value in START.items()},
    frozenset(("head",)),
    frozenset(),
    frozenset(),
    frozenset(("body",)),
)


def view(name: str, **description: str) -> NodeView:
    entries = {key.replace("_", "-"): value for key, value in description.items()}
    return NodeView(name, ord(name), is_present=True, description=ConfigRecord({**entries}), since=0.0)


def test_the_newest_description_of_a_node_decides_whether_it_has_the_frozen_arrays() -> None:
    described = {name: ConfigRecord({"frozen-sha256": DIGEST}) for name in "ab"}
    frozen = FrozenArrays.build(pack(START), LAYOUT, described)
    assert frozen.sha256 == DIGEST
    joined = [view("a"), view("b", frozen_sha256="00"), view("c", frozen_sha256=DIGEST), view("d")]
    assert frozen.find_holders(joined) == {ord("a"), ord("c")}


def test_no_node_is_a_holder_if_nothing_is_frozen() -> None:
    assert FrozenArrays().find_holders([view("a", frozen_sha256="")]) == set()
    assert FrozenArrays().config == {}


@pytest.mark.parametrize("strategy", ["fedavg", "fedmedian", "krum"])
def test_the_file_of_the_updates_is_empty_after_each_aggregation(
    federation: Federation, strategy: str
) -> None:
    """An array that stayed in it would keep the file from ever being emptied."""
    sizes = []

    def look(_: Values, __: Config) -> Metrics:
        sizes.append(find_files(federation.runs_dir))
        return GOOD

    nodes = {"a": make_node(evaluate=look), "b": make_node(), "c": make_node()}
    federation.run(nodes, num_rounds=3, update_memory=0, strategy=strategy)
    assert sizes == [[0]] * 3
