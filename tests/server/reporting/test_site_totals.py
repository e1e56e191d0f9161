"""The lines about what each site contributed."""

import io
import json
from pathlib import Path
from typing import Any

from fedmx import log
from fedmx.settings import ServerSettings
from server.nodes import Nodes
from server.report import AskedNode, NodeReport, Opening, Outcome, Rejection
from server.reporting.reporters import Reporters
from server.reporting.site_totals import make
from tests.server.reports import make_report


def node(name: str, site: str) -> NodeReport:
    return NodeReport(name, site, None, 30, {"loss": 0.1}, None, 1.0, 100, 200)


def report_lines(folder: Path, nodes: list[NodeReport], **others: Any) -> list[dict[str, Any]]:
    """Report two rounds as the server does, and return the lines."""
    stream = io.StringIO()
    log.configure("INFO", "json", stream)
    lines = [make_report(number, nodes=nodes, **others).to_line() for number in (1, 2)]
    (folder / "history.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    (folder / "run.json").write_text('{"settings": {}}')
    nodes_of_run: Nodes = None  # type: ignore[assignment] # none is asked for
    with Reporters([make(ServerSettings())]) as reporters:
        reporters.on_open(Opening("run", folder, is_resumed=False, settings={}, nodes=nodes_of_run))
        reporters.on_end(Outcome("finished"))
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def test_each_site_has_one_line_with_totals_over_all_rounds(tmp_path: Path) -> None:
    nodes = [node("a.x", "a"), node("a.y", "a"), node("b.x", "b")]
    rejected = [Rejection("b.x", "b", None, "train", "not finite")]
    first, second = report_lines(tmp_path, nodes, rejected=rejected)
    for line, expected in (
        (first, {"site": "a", "nodes": 2, "rounds": 2, "bytes_up": 400, "bytes_down": 800, "rejected": 0}),
        (second, {"site": "b", "nodes": 1, "rounds": 2, "bytes_up": 200, "bytes_down": 400, "rejected": 2}),
    ):
        assert line["event"] == "site totals"
        assert expected.items() <= line.items()


def test_a_run_of_one_site_has_none(tmp_path: Path) -> None:
    assert report_lines(tmp_path, [node("a.x", "a"), node("a.y", "a")]) == []


def test_a_node_that_was_always_left_out_is_not_a_site_of_its_own(tmp_path: Path) -> None:
    left_out = [AskedNode("a.slow", "a", None)]
    assert report_lines(tmp_path, [node("a.x", "a")], left_out=left_out) == []
