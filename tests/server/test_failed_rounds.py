"""Rejected and lost updates, and failed rounds: which are retried, and which end the run."""

from typing import Any

import numpy as np
import pytest

from fedmx.errors import TrainingFailedError
from tests.server.federation import Federation
from tests.server.nodes import GOOD, Config, Metrics, NullNode, Values, keep, lose, shift

NO_EXAMPLES = shift(1.0, **{"num-examples": 0})
REJECTED = "num-examples is 0, expected a positive number up to 2**53"


def put(**arrays: Any) -> NullNode:
    """Make a node that replaces or adds arrays."""
    return NullNode(
        lambda values, _: ({**values, **{k.replace("_", "."): v for k, v in arrays.items()}}, GOOD)
    )


def fail(_: Values, __: Config) -> tuple[Values, Metrics]:
    raise ZeroDivisionError("the columns do not fit")


def lost_first(times: int) -> NullNode:
    """Build a node that loses its first updates, and then adds 1 to every value."""
    node = NullNode()
    node.train = lambda *sent: lose(*sent) if len(node.asked_to("train")) <= times else shift(1.0)(*sent)
    return node


def failure(federation: Federation, nodes: dict[str, NullNode], **settings: Any) -> str:
    with pytest.raises(TrainingFailedError) as caught:
        federation.run(nodes, **settings)
    assert caught.value.exit_code == 4
    assert {str(node.outcome) for node in nodes.values()} == {
        f"the server reports that the run failed: {caught.value}"
    }
    return str(caught.value)


def test_one_node_without_examples_among_three_is_harmless(federation: Federation) -> None:
    nodes = {"a": NullNode(shift(2.0)), "b": NullNode(NO_EXAMPLES), "c": NullNode(shift(4.0))}
    federation.run(nodes, min_clients=2)
    assert federation.model["0.weight"].tolist() == [[3.0] * 3] * 2
    [rejection] = federation.history[0]["rejected"]
    assert (rejection["name"], rejection["step"], rejection["reason"]) == ("b", "train", REJECTED)
    assert [node["name"] for node in federation.history[0]["nodes"]] == ["a", "c"]
    assert len(nodes["b"].asked_to("train")) == 1


def test_a_round_in_which_no_node_has_examples_fails_at_once(federation: Federation) -> None:
    nodes = {name: NullNode(NO_EXAMPLES) for name in ("a", "b")}
    expected = failure(federation, nodes, num_rounds=3)
    assert expected.startswith("round 1 failed: 0 updates admitted, 2 needed: ")
    assert (expected.count("a, b"), expected.count(REJECTED)) == (1, 1)
    assert [len(node.asked_to("train")) for node in nodes.values()] == [1, 1]
    assert (federation.facts["status"], federation.facts["reason"]) == ("failed", expected)
    assert (federation.facts["rounds"], federation.facts["model_sha256"]) == (0, None)
    assert sorted(path.name for path in federation.folder.iterdir()) == ["run.json"]
    assert [len(node.asked_to("evaluate")) for node in nodes.values()] == [0, 0]


def test_after_a_failed_round_the_model_is_the_one_before_it(federation: Federation) -> None:
    seen: list[float] = []

    def train(values: Values, config: Config) -> tuple[Values, Metrics]:
        seen.append(float(values["0.weight"][0, 0]))
        return shift(1.0)(values, config) if config["server-round"] == 1 else fail(values, config)

    expected = failure(federation, {"a": NullNode(train)}, num_rounds=2)
    assert expected.startswith("round 2 failed: 0 updates admitted, 1 needed: node a: ")
    assert seen == [0.0, 1.0]
    assert [line["round"] for line in federation.history] == [1]
    assert not (federation.folder / "model.npz").exists()


@pytest.mark.parametrize(
    ("bad", "reason"),
    [
        (
            put(**{"0_weight": np.full((2, 3), np.nan, np.float32)}),
            "array '0.weight' has values that are not finite",
        ),
        (
            put(**{"0_weight": np.full((2, 3), np.inf, np.float32)}),
            "array '0.weight' has values that are not finite",
        ),
        (put(**{"0_weight": np.zeros(1, np.float32)}), "array '0.weight' has shape (1,), expected (2, 3)"),
        (put(**{"0_weight": np.zeros((2, 3))}), "array '0.weight' has dtype float64, expected float32"),
        (put(extra=np.zeros(1, np.float32)), "array 'extra' is not in the model"),
        (NullNode(lambda _, __: ({}, GOOD)), "array '0.weight' is missing"),
        (NullNode(shift(1.0, loss=float("nan"))), "metric 'loss' is nan, expected a finite number"),
        (NullNode(shift(1.0, f1=1.0)), "metric 'f1' is not one of accuracy, loss, num-examples"),
    ],
)
def test_a_bad_update_is_rejected_by_name_and_the_model_stays_finite(
    federation: Federation, bad: NullNode, reason: str
) -> None:
    federation.run({"good": NullNode(shift(1.0)), "bad": bad}, min_clients=1, num_rounds=2)
    (partition,) = {node["partition"] for line in federation.history for node in line["nodes"]} ^ {0, 1}
    about = {"name": "bad", "site": None, "partition": partition}
    for line in federation.history:
        assert line["rejected"] == [{**about, "step": "train", "reason": reason}]
    assert federation.model["0.weight"].tolist() == [[2.0] * 3] * 2


def test_evaluations_are_checked_like_updates(federation: Federation) -> None:
    nodes = {"good": NullNode(), "bad": NullNode(evaluate=lambda _, __: GOOD | {"loss": float("inf")})}
    federation.run(nodes)
    line = federation.history[0]
    reason = "metric 'loss' is inf, expected a finite number"
    [rejection] = line["rejected"]
    assert (rejection["name"], rejection["step"], rejection["reason"]) == ("bad", "evaluate", reason)
    assert line["evaluate"] == {"num_examples": 10, "metrics": {"loss": 0.5, "accuracy": 0.75}}
    assert federation.facts["best"] is None, "not all partitions were evaluated"


def test_a_node_that_raises_is_named_with_its_cause(federation: Federation) -> None:
    expected = failure(federation, nodes := {"good": NullNode(), "bad": NullNode(fail)})
    assert expected.startswith("round 1 failed: 1 updates admitted, 2 needed: node bad: ")
    assert expected.count("the columns do not fit") == 1
    assert [len(node.asked_to("train")) for node in nodes.values()] == [1, 1]


def test_an_update_that_is_not_finite_is_not_asked_for_again(federation: Federation) -> None:
    nodes = {"a": NullNode(), "b": NullNode(shift(float("nan")))}
    assert "node b: " in failure(federation, nodes)
    assert [len(node.asked_to("train")) for node in nodes.values()] == [1, 1]


def test_a_node_that_failed_is_not_asked_again_in_the_round_and_asked_in_the_next(
    federation: Federation,
) -> None:
    def train(values: Values, config: Config) -> tuple[Values, Metrics]:
        return (fail if config["server-round"] == 1 else shift(1.0))(values, config)

    nodes = {"a": lost_first(1), "b": NullNode(train), "c": NullNode()}
    federation.run(nodes, min_updates=2, num_rounds=2)
    assert [[c["server-round"] for c in node.asked_to("train")] for node in nodes.values()] == [
        [1, 1, 2],
        [1, 2],
        [1, 2],
    ]
    assert [[rejection["name"] for rejection in line["rejected"]] for line in federation.history] == [
        ["b"],
        [],
    ]


def test_a_round_that_can_get_no_more_updates_is_not_tried_again(federation: Federation) -> None:
    nodes = {"fails": NullNode(fail), "lost": lost_first(1), "good": NullNode()}
    expected = failure(federation, nodes)
    assert expected.startswith("round 1 failed: 1 updates admitted, 3 needed: ")
    assert [len(node.asked_to("train")) for node in nodes.values()] == [1, 1, 1]


def test_updates_that_stay_lost_are_asked_for_three_times(federation: Federation) -> None:
    nodes = {"lost": NullNode(lose), "good": NullNode()}
    expected = failure(federation, nodes)
    assert expected.startswith(
        "round 1 failed 3 times, the last time: 1 updates admitted, 2 needed: node lost: "
    )
    assert [len(node.asked_to("train")) for node in nodes.values()] == [3, 1]


def test_a_failed_round_keeps_what_was_admitted_and_asks_only_the_others(federation: Federation) -> None:
    nodes = {"a": NullNode(shift(3.0)), "b": lost_first(2), "c": NullNode(shift(5.0))}
    federation.run(nodes)
    assert [len(node.asked_to("train")) for node in nodes.values()] == [1, 3, 1]
    # By hand: (3 + 1 + 5) / 3.
    assert federation.model["0.weight"][0, 0] == 3.0
    assert federation.history[0]["rejected"] == []
    assert [node["name"] for node in federation.history[0]["nodes"]] == ["a", "b", "c"]


def test_every_round_has_its_own_attempts(federation: Federation) -> None:
    steps = iter([lose, lose, keep, lose, lose, keep])

    def train(values: Values, config: Config) -> tuple[Values, Metrics]:
        return next(steps)(values, config)

    federation.run({"a": NullNode(train)}, num_rounds=2)
    assert [line["round"] for line in federation.history] == [1, 2]
