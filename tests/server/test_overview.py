"""The document that shows a run: compared with numbers worked out by hand from its history."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from server.curves import Curves, choose_rounds
from server.overview import Overview, read_overview
from server.watching.figures import show_figure
from tests.server.federation import Federation
from tests.server.nodes import NullNode, shift

FACTS = {
    "run_id": "one",
    "status": "running",
    "settings": {"NUM_ROUNDS": 5, "LOCAL_EPOCHS": 2},
    "name": "first try",
    "tags": ["mlp", "iid"],
}


def entry(
    name: str, site: str | None = None, examples: float | None = 100.0, **values: Any
) -> dict[str, Any]:
    return {
        "name": name,
        "site": site,
        "partition": None,
        "examples": examples,
        "metrics": {"loss": 0.5},
        "evaluate": {"num_examples": 10, "metrics": {"loss": 0.25}},
        "seconds": 4.0,
        "bytes_up": 10,
        "bytes_down": 20,
        **values,
    }


def absent(name: str, site: str | None = None, partition: int | None = None) -> dict[str, Any]:
    return {"name": name, "site": site, "partition": partition}


def line(number: int, nodes: list[dict[str, Any]], **values: Any) -> dict[str, Any]:
    return {
        "round": number,
        "learning_rate": 0.05,
        "train": {"num_examples": 100, "metrics": {"loss": 0.5}},
        "evaluate": {"num_examples": 10, "metrics": {"loss": 0.25, "accuracy": 0.9}},
        "nodes": nodes,
        "rejected": [],
        "missing": [],
        "left_out": [],
        "seconds": {"train": 1.0, "total": 1.5},
        "time": "2026-01-02T03:04:05+00:00",
        **values,
    }


def describe(*lines: dict[str, Any]) -> dict[str, Any]:
    overview = Overview()
    for each in lines:
        overview.add(each)
    document = overview.describe(FACTS)
    return dict(json.loads(json.dumps(document, allow_nan=False)))


def test_a_run_without_rounds_is_described_by_its_facts() -> None:
    document = describe()
    assert (document["run_id"], document["name"], document["tags"]) == ("one", "first try", ["mlp", "iid"])
    assert (document["rounds"], document["num_rounds"]) == (0, 5)
    assert (document["nodes"], document["sites"], document["rejections"]) == ([], [], [])


def test_a_curve_has_a_value_or_a_gap_for_each_round() -> None:
    document = describe(
        line(1, [entry("a")]),
        line(2, [entry("a")], evaluate=None, left_out=[absent("b"), absent("c")]),
        line(4, [entry("a")], privacy={"epsilon": 1.5, "delta": 1e-5}, missing=[absent("b")]),
    )
    curves = document["curves"]
    assert curves["rounds"] == [1, 2, 4]
    assert curves["evaluate"] == {"loss": [0.25, None, 0.25], "accuracy": [0.9, None, 0.9]}
    assert curves["epsilon"] == [None, None, 1.5]
    assert curves["seconds"]["total"] == [1.5, 1.5, 1.5]
    assert (curves["nodes"], curves["bytes_up"], curves["bytes_down"]) == ([1] * 3, [10] * 3, [20] * 3)
    assert (curves["missing"], curves["left_out"]) == ([0, 0, 1], [0, 2, 0])
    assert document["privacy"] == {"epsilon": 1.5, "delta": 1e-5}


def test_a_node_and_its_site_have_totals_over_all_rounds() -> None:
    rejection = {**absent("b", "east"), "step": "train", "reason": "NaN in w"}
    document = describe(
        line(1, [entry("a", "east"), entry("b", "east")]),
        line(
            2,
            [entry("a", "east", 50.0)],
            rejected=[rejection],
            missing=[absent("c")],
            left_out=[absent("a", "east")],
        ),
    )
    a, b, c = document["nodes"]
    assert (a["rounds"], a["examples"], a["examples_total"]) == (2, 50.0, 150.0)
    # Two epochs of 50 examples in 4 seconds.
    assert a["examples_per_second"] == 25.0
    assert (a["bytes_up"], a["bytes_down"], a["rejected"]) == (20, 40, 0)
    assert (b["rounds"], b["rejected"], c["missing"], a["left_out"]) == (1, 1, 1, 1)
    assert c["examples_per_second"] is None
    east = next(site for site in document["sites"] if site["site"] == "east")
    assert east["examples"] == 250.0
    assert (east["site"], east["nodes"], east["rounds"], east["rejected"]) == ("east", 2, 2, 1)
    assert (east["bytes_up"], east["bytes_down"]) == (30, 60)
    assert document["rejections"] == [{"round": 2, **rejection}]


def test_a_node_that_was_never_admitted_belongs_to_its_site_and_partition() -> None:
    document = describe(
        line(
            1,
            [entry("east.a", "east", partition=0)],
            left_out=[absent("east.b", "east", 1)],
            missing=[absent("east.c", "east", 2)],
            rejected=[{**absent("east.d", "east", 3), "step": "train", "reason": "NaN in w"}],
        )
    )
    nodes = [(node["name"], node["site"], node["partition"]) for node in document["nodes"]]
    assert nodes == [(f"east.{name}", "east", partition) for partition, name in enumerate("abcd")]
    [site] = document["sites"]
    assert (site["site"], site["nodes"], site["rounds"], site["rejected"]) == ("east", 4, 1, 1)


def test_bytes_that_are_not_measured_are_unknown_and_not_none_at_all() -> None:
    unknown = {"bytes_up": None, "bytes_down": None}
    document = describe(
        line(1, [entry("a", "east", **unknown), entry("b", "west")]), line(2, [entry("a", "east")])
    )
    assert document["curves"]["bytes_up"] == [None, 10]
    assert [(node["bytes_up"], node["bytes_down"]) for node in document["nodes"]] == [(None, None), (10, 20)]
    assert [site["bytes_up"] for site in document["sites"]] == [None, 10]


def test_the_document_of_a_real_run_has_what_its_history_has(federation: Federation) -> None:
    federation.run({"a": NullNode(shift(1.0)), "b": NullNode()}, num_rounds=3)
    document = read_overview(federation.folder)
    history = federation.history
    assert document["run_id"] == federation.facts["run_id"]
    assert document["curves"]["rounds"] == [1, 2, 3]
    assert document["curves"]["evaluate"]["loss"] == [each["evaluate"]["metrics"]["loss"] for each in history]
    assert [node["name"] for node in document["nodes"]] == ["a", "b"]
    sent = sum(node["bytes_down"] for each in history for node in each["nodes"])
    assert sum(node["bytes_down"] for node in document["nodes"]) == sent > 0


def test_lines_that_cannot_be_read_are_left_out(tmp_path: Path) -> None:
    (tmp_path / "run.json").write_text(json.dumps(FACTS))
    lines = [json.dumps(line(1, [])), "{torn", "3", '{"round": 2}', json.dumps(line(3, []))]
    (tmp_path / "history.jsonl").write_text("\n".join(lines))
    assert read_overview(tmp_path)["curves"]["rounds"] == [1, 3]


@pytest.mark.parametrize(
    "replaced",
    [
        {"round": "2"},
        {"round": 2.5},
        {"round": 2**63},
        {"nodes": 3},
        {"nodes": [3]},
        {"nodes": [entry("a", site=5)]},  # type: ignore[arg-type]
        {"nodes": [{**entry("a"), "name": 5}]},
        {"rejected": [{"name": "a", "reason": 5}]},
        {"missing": [5]},
        {"missing": ["a"]},
        {"left_out": [5]},
        {"left_out": [{"name": "a", "site": 5}]},
        {"seconds": None},
    ],
)
def test_a_line_that_was_edited_to_be_no_round_is_left_out(
    tmp_path: Path, replaced: Mapping[str, object]
) -> None:
    lines = (line(1, []), {**line(2, []), **replaced}, line(3, []))
    (tmp_path / "history.jsonl").write_text("".join(f"{json.dumps(each)}\n" for each in lines))
    (tmp_path / "run.json").write_text("{}")
    assert read_overview(tmp_path)["curves"]["rounds"] == [1, 3]


def test_a_value_of_a_curve_rounds_to_the_same_four_decimals_as_the_one_in_the_history() -> None:
    step = {"num_examples": 10, "metrics": {"accuracy": 0.98725037}}
    (value,) = describe(line(1, [], evaluate=step))["curves"]["evaluate"]["accuracy"]
    assert show_figure(value) == "0.9873"


def test_the_curves_of_many_nodes_are_thinned_out_to_a_bounded_size() -> None:
    names = [f"node-{number}" for number in range(200)]
    document = describe(*(line(number, [entry(name) for name in names]) for number in range(1, 1001)))
    curves = document["node_curves"]
    assert (curves["rounds"][0], curves["rounds"][-1]) == (1, 1000)
    assert sum(len(values) for node in curves["nodes"].values() for values in node.values()) <= 40_000
    assert len(json.dumps(document)) < 1_000_000


@pytest.mark.parametrize(
    ("most", "chosen"),
    [(0, [1, 9]), (2, [1, 9]), (3, [1, 5, 9]), (9, list(range(1, 10))), (99, list(range(1, 10)))],
)
def test_rounds_are_chosen_at_equal_distances(most: int, chosen: list[int]) -> None:
    assert choose_rounds(range(1, 10), most) == chosen


def test_a_value_that_is_not_finite_is_a_gap() -> None:
    curves = Curves()
    curves.add(1, {"loss": float("inf")})
    curves.add(2, {"loss": 0.1234567891234})
    assert curves.values("loss") == [None, 0.123456789]
    assert curves.values("loss", [2, 3]) == [0.123456789, None]
