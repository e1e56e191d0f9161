"""The table of nodes: which runs have one, its order, and that it can be read for any number of nodes."""

import io
import json
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from local.display import print_line, print_table
from local.results import Nodes, read_nodes, read_totals
from local.tables import describe_order, describe_totals, make_node_table, make_totals_table


def node(name: str, partition: int | None = None, **evaluate: float) -> dict[str, Any]:
    return {
        "name": name,
        "partition": partition,
        "examples": 30,
        "metrics": {"loss": 0.125, "accuracy": 0.5},
        "evaluate": {"num_examples": 10, "metrics": evaluate} if evaluate else None,
    }


def write(folder: Path, *nodes: dict[str, Any], best_metric: str = "loss:min", **others: Any) -> Path:
    step = {"num_examples": 90, "metrics": {"loss": 0.25, "accuracy": 0.5}}
    line = {"round": 3, "train": step, "evaluate": step, "nodes": nodes, "only_evaluated": [], **others}
    (folder / "history.jsonl").write_text(json.dumps({**line, "nodes": []}) + "\n" + json.dumps(line) + "\n")
    (folder / "run.json").write_text(json.dumps({"settings": {"BEST_METRIC": best_metric}}))
    return folder


def contribute(name: str) -> dict[str, Any]:
    return {**node(name), "site": "local", "seconds": 1.0, "bytes_up": 1_500_000, "bytes_down": 200_000}


def write_rounds(folder: Path, *names: str, **others: Any) -> Path:
    """Write two rounds of some nodes, in each of which a reply of the last one was rejected."""
    nodes = [contribute(name) for name in names]
    line = {"nodes": nodes, "missing": [], "left_out": [], "seconds": {"total": 1.0}, "round": 1, **others}
    line["rejected"] = [{"name": names[-1], "step": "train", "reason": "not finite"}]
    lines = [{**line, "round": number} for number in (1, 2)]
    (folder / "history.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    (folder / "run.json").write_text("{}")
    return folder


def test_totals_over_all_rounds_are_shown_by_node_those_with_most_lost_first(tmp_path: Path) -> None:
    totals = read_totals(write_rounds(tmp_path, "local.client-1", "local.[client-2]"))
    console = Console(file=io.StringIO(), width=40)
    print_table(console, make_totals_table(totals))
    text: str = console.file.getvalue()  # type: ignore[attr-defined]
    rows = [line.split() for line in text.splitlines() if "client" in line]
    assert rows == [["[client-2]", "2", "60", "3.0", "0.4", "2"], ["client-1", "2", "60", "3.0", "0.4", "0"]]
    assert describe_totals(totals * 20).endswith("20 more are in history.jsonl")


def show_totals(folder: Path, *nodes: str, **others: Any) -> list[str]:
    """Return the lines of the table of totals, spaces between words reduced to one."""
    console = Console(file=io.StringIO(), width=80)
    print_table(console, make_totals_table(read_totals(write_rounds(folder, *nodes, **others))))
    text: str = console.file.getvalue()  # type: ignore[attr-defined]
    lines = (" ".join(line.split()) for line in text.splitlines())
    return [line for line in lines if line and "─" not in line]


def test_totals_name_the_nodes_that_were_left_out_or_missing_first(tmp_path: Path) -> None:
    nodes = ("local.a", "local.b", "local.c")
    assert show_totals(tmp_path, *nodes, left_out=[{"name": "local.b"}], missing=[{"name": "local.b"}]) == [
        "node rounds examples MB up MB down rejected missing left out",
        "b 2 60 3.0 0.4 0 2 2",
        "c 2 60 3.0 0.4 2 0 0",
        "a 2 60 3.0 0.4 0 0 0",
    ]
    [heading, *_] = show_totals(tmp_path, *nodes, left_out=[{"name": "local.a"}])
    assert heading == "node rounds examples MB up MB down rejected left out"


def test_a_run_of_one_node_or_without_a_record_has_no_totals(tmp_path: Path) -> None:
    assert read_totals(tmp_path) == []
    assert read_totals(write_rounds(tmp_path, "local.client-1")) == []


def show(nodes: Nodes | None) -> list[list[str]]:
    """Print the table on a narrow pipe, and return the words of each line."""
    assert nodes is not None
    console = Console(file=io.StringIO(), width=40)
    print_line(console, describe_order(nodes))
    print_table(console, make_node_table(nodes))
    text: str = console.file.getvalue()  # type: ignore[attr-defined]
    return [line.split() for line in text.splitlines() if line.strip() and "─" not in line]


SITES = (
    node("local.north", loss=0.2, accuracy=0.9),
    node("local.south", loss=2.5, accuracy=0.2),
    node("local.west", loss=0.4, accuracy=0.8),
)


def test_the_worst_site_is_the_first_and_all_of_them_the_last(tmp_path: Path) -> None:
    assert show(read_nodes(write(tmp_path, *SITES))) == [
        ["nodes", "in", "round", "3,", "worst", "loss", "first"],
        ["node", "examples", "train", "loss", "tested", "loss", "accuracy"],
        ["south", "30", "0.1250", "10", "2.5000", "0.2000"],
        ["west", "30", "0.1250", "10", "0.4000", "0.8000"],
        ["north", "30", "0.1250", "10", "0.2000", "0.9000"],
        ["all", "90", "0.2500", "90", "0.2500", "0.5000"],
    ]


def names(nodes: Nodes | None) -> list[str]:
    assert nodes is not None
    return [one.name for one in nodes.worst_first]


def test_a_higher_value_is_better_if_the_best_metric_says_so(tmp_path: Path) -> None:
    folder = write(tmp_path, *SITES, best_metric="accuracy:max")
    assert names(read_nodes(folder)) == ["south", "west", "north"]
    folder = write(tmp_path, *SITES, best_metric="accuracy:min")
    assert names(read_nodes(folder)) == ["north", "west", "south"]


def test_a_site_that_could_not_be_measured_comes_before_the_worst(tmp_path: Path) -> None:
    only = {**node("east", loss=9.0), "examples": None, "metrics": {}}
    rows = show(read_nodes(write(tmp_path, *SITES, node("lost"), only_evaluated=[only])))
    assert rows[2] == ["lost", "30", "0.1250", "-", "-", "-"]
    assert rows[3] == ["east", "-", "-", "10", "9.0000", "-"]


def test_without_the_metric_the_sites_are_sorted_by_name(tmp_path: Path) -> None:
    nodes = read_nodes(write(tmp_path, *SITES, best_metric="auc:max"))
    assert names(nodes) == ["north", "south", "west"]
    assert show(nodes)[0] == ["nodes", "in", "round", "3"]


def test_of_many_sites_the_worst_are_shown(tmp_path: Path) -> None:
    rows = show(read_nodes(write(tmp_path, *(node(f"site-{n:03}", loss=n / 100) for n in range(150)))))
    assert " ".join(rows[0]) == "nodes in round 3, worst loss first, 130 more are in history.jsonl"
    assert [row[0] for row in rows[2:]] == [*(f"site-{n:03}" for n in range(149, 129, -1)), "all"]


@pytest.mark.parametrize(
    "nodes", [(), SITES[:1], (node("a", 0, loss=0.2), node("b", 1, loss=0.4)), (node("a", 0), node("b"))]
)
def test_one_node_and_parts_of_one_dataset_have_no_table(nodes: Any, tmp_path: Path) -> None:
    assert read_nodes(write(tmp_path, *nodes)) is None


def test_a_history_that_cannot_be_read_has_no_table(tmp_path: Path) -> None:
    assert read_nodes(tmp_path) is None
    folder = write(tmp_path, *SITES)
    (folder / "run.json").unlink()
    assert read_nodes(folder) is None
    write(tmp_path, *SITES)
    (folder / "history.jsonl").write_text("{\n")
    assert read_nodes(folder) is None


def test_names_of_sites_are_not_markup(tmp_path: Path) -> None:
    rows = show(read_nodes(write(tmp_path, node("[red]north", loss=1.0), node("[/]", loss=0.5))))
    assert [row[0] for row in rows[2:4]] == ["[red]north", "[/]"]
