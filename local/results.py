"""Reads what the server has written of a run so far, in the run's folder."""

import json
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fedmx.files import read_regular
from fedmx.goals import BestMetric
from fedmx.pki.authority import LOCAL_SITE
from server.overview import read_overview

_SETTINGS = {"target": "TARGET", "patience": "PATIENCE", "epsilon": "MAX_EPSILON"}
"""Reason for which a run stopped -> the setting behind it."""


@dataclass(frozen=True)
class Round:
    """One line of a run's history.

    Attributes:
        train: the metrics of the nodes' training.
        evaluate: the metrics of the evaluation; empty if there was none.
    """

    number: int
    nodes: int
    train: Mapping[str, float]
    evaluate: Mapping[str, float]
    seconds: float | None

    @classmethod
    def parse(cls, line: str) -> "Round":
        """Parse a line of `history.jsonl`."""
        values = json.loads(line)
        return cls(
            number=values["round"],
            nodes=len(values.get("nodes") or ()),
            train=(values.get("train") or {}).get("metrics", {}),
            evaluate=(values.get("evaluate") or {}).get("metrics", {}),
            seconds=(values.get("seconds") or {}).get("total"),
        )


@dataclass(frozen=True)
class Node:
    """One node in a round, or all of them together.

    Attributes:
        name: its name.
        examples: how many it trained on; None if its training was not admitted.
        train: the metrics of its training.
        tested: how many examples it was evaluated on; None if no evaluation was admitted.
        evaluate: the metrics of its evaluation.
    """

    name: str
    examples: float | None
    train: Mapping[str, float]
    tested: float | None
    evaluate: Mapping[str, float]

    @classmethod
    def parse(cls, values: Mapping[str, Any]) -> "Node":
        """Parse a node in a line of `history.jsonl`."""
        evaluate = values["evaluate"] or {}
        return cls(
            # All clients of this machine have the certificate of one site, whose name precedes theirs.
            name=values["name"].removeprefix(f"{LOCAL_SITE}."),
            examples=values["examples"],
            train=values["metrics"],
            tested=evaluate.get("num_examples"),
            evaluate=evaluate.get("metrics", {}),
        )


@dataclass(frozen=True)
class Nodes:
    """The nodes of a round.

    Attributes:
        round: its number.
        worst_first: the nodes; those without an evaluation come first.
        metric: by which they are sorted; None if none of them has it.
        total: all of them together.
    """

    round: int
    worst_first: Sequence[Node]
    metric: str | None
    total: Node

    @classmethod
    def parse(cls, line: str, rule: BestMetric) -> "Nodes | None":
        """Parse a line of `history.jsonl`.

        Args:
            line: the line.
            rule: the metric by which nodes are sorted.

        Returns:
            The nodes. None if there is only one, or if they divide one dataset: each then has a random part
            of the test set, so that they differ by chance.
        """
        values = json.loads(line)
        found = [*values["nodes"], *values["only_evaluated"]]
        if len(found) <= 1 or any(node["partition"] is not None for node in found):
            return None
        train = values["train"] or {}
        total = {
            "name": "all",
            "examples": train.get("num_examples"),
            "metrics": train.get("metrics", {}),
            "evaluate": values["evaluate"],
        }
        nodes = sorted(map(Node.parse, found), key=lambda node: _rank(node, rule))
        has_metric = any(rule.metric in node.evaluate for node in nodes)
        return cls(values["round"], nodes, rule.metric if has_metric else None, Node.parse(total))


@dataclass(frozen=True)
class Totals:
    """What a node contributed over all rounds.

    Attributes:
        name: its name.
        rounds: in how many its update was admitted.
        examples: how many it trained on, counted once per round.
        bytes_up: bytes that it sent; None where they are not measured, as in a simulation.
        bytes_down: bytes that it received; None likewise.
        lost: what the run did without -> how often: replies that were rejected, and rounds in which it was
            missing or in which a quorum left it out.
    """

    name: str
    rounds: int
    examples: float
    bytes_up: int | None
    bytes_down: int | None
    lost: Mapping[str, int]

    @classmethod
    def parse(cls, values: Mapping[str, Any]) -> "Totals":
        """Parse a node of a run's overview."""
        return cls(
            name=values["name"].removeprefix(f"{LOCAL_SITE}."),
            examples=values["examples_total"],
            lost={what.replace("_", " "): values[what] for what in ("rejected", "missing", "left_out")},
            **{name: values[name] for name in ("rounds", "bytes_up", "bytes_down")},
        )


def read_totals(folder: Path) -> list[Totals]:
    """Read the totals of a run's nodes; none if there is only one node, or they cannot be read."""
    with suppress(ValueError, KeyError, TypeError, OSError):
        nodes = [Totals.parse(node) for node in read_overview(folder)["nodes"]]
        return nodes if len(nodes) > 1 else []
    return []


def _rank(node: Node, rule: BestMetric) -> tuple[bool, float, str]:
    """Return the place of a node among others: what could not be measured first, then the worst."""
    value = node.evaluate.get(rule.metric)
    if value is None:
        return False, 0.0, node.name
    return True, value if rule.is_higher_better else -value, node.name


def read_rounds(folder: Path) -> list[Round]:
    """Read the finished rounds of a run; a line that is incomplete or invalid is skipped."""
    rounds = []
    for line in _read_lines(folder):
        with suppress(ValueError, KeyError):
            rounds.append(Round.parse(line))
    return rounds


def read_nodes(folder: Path) -> Nodes | None:
    """Read the nodes of the newest round of a run; None unless they have data of their own."""
    newest = next(reversed(_read_lines(folder)), None)
    with suppress(ValueError, KeyError, OSError):
        if newest is not None:
            return Nodes.parse(newest, BestMetric.parse(read_run(folder)["settings"]["BEST_METRIC"]))
    return None


def _read_lines(folder: Path) -> list[str]:
    """Return the complete lines of a run's history."""
    try:
        text = read_regular(folder / "history.jsonl").decode(errors="replace")
    except OSError:
        return []
    return [line for line in text.splitlines(keepends=True) if line.endswith("\n")]


def read_run(folder: Path) -> Mapping[str, Any]:
    """Read `run.json`."""
    values: Mapping[str, Any] = json.loads(read_regular(folder / "run.json"))
    return values


def was_interrupted(folder: Path) -> bool:
    """Return whether a run was stopped or killed, as far as its record can be read."""
    with suppress(ValueError, KeyError, TypeError, OSError):
        return bool(read_run(folder)["status"] == "interrupted")
    return False


def describe_stop(facts: Mapping[str, Any]) -> str | None:
    """Describe why a finished run ended before its last round; None if it did not."""
    reason = facts.get("stopped")
    if reason is None:
        return None
    setting = _SETTINGS[reason]
    settings = facts["settings"]
    return (
        f"stopped by {setting}={settings[setting]} after round {facts['rounds']} of {settings['NUM_ROUNDS']}"
    )
