"""`python -m bench.pages`: writes the tables and the plot of docs/performance.md from bench/results/*.json.

Each part comes from the newest file that has it, so that parts may be measured one by one.
"""

import argparse
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any, TypeVar

from bench.big import Big
from bench.floor import Floor
from bench.flower_app.null_app.model import model_bytes
from bench.outcome import Outcome
from bench.plot import Panel, draw
from bench.report import RESULTS, describe_crossing, describe_scale
from bench.wan.crossing import Crossing
from fedmx.program import ArgumentParser, run_program

_DOCS = Path(__file__).parents[1] / "docs"
PAGE = _DOCS / "performance.md"
PLOT = _DOCS / "assets" / "performance.svg"
_NAMES = {
    "link": "fedmx, without TLS",
    "tls": "fedmx, mutual TLS",
    "deprecated": "Flower's deprecated gRPC server",
    "superlink": "Flower's SuperLink and SuperNodes",
    "superlink-fast": "the same, shortest poll interval",
    "raw TCP": "one plain TCP stream",
}
_MB = 1_000_000

T = TypeVar("T")


def main() -> None:
    """Write the page and the plot."""
    parser = ArgumentParser(prog="python -m bench.pages", description="Update docs/performance.md.")
    parser.add_argument("--note", default="", help="a sentence about how the figures were measured")
    options: argparse.Namespace = parser.parse_args()
    parts = merge(json.loads(path.read_text()) for path in sorted(RESULTS.glob("*.json")))
    PAGE.write_text(replace_blocks(PAGE.read_text(), build_blocks(parts, options.note)))
    if panels := build_panels(parts.get("scale", [])):
        PLOT.write_text(draw(panels, "seconds and memory of a round against the number of nodes"))
    print(f"wrote {PAGE}")


def merge(results: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """Return each part, from the newest result that has it; rounds and floors by engine and size."""
    parts: dict[str, Any] = {"outcomes": {}, "floors": {}}
    for result in results:
        parts["machine"] = result["machine"]
        for each in result["outcomes"]:
            parts["outcomes"][each["engine"], each["size"]] = _build(Outcome, each)
        for each in result["floors"]:
            parts["floors"][each["size"]] = _build(Floor, each)
        if result["scale"]:
            parts["scale"] = [_build(Outcome, each) for each in result["scale"]]
        if result["wan"]:
            parts["wan"] = [_build(Crossing, each) for each in result["wan"]]
        if result["big"]:
            big = result["big"]
            parts["big"] = Big(_build(Outcome, big["link"]), _build(Floor, big["floor"]))
    return parts


def build_blocks(parts: Mapping[str, Any], note: str) -> dict[str, str]:
    """Return the text of each block that has been measured, by its name in the page."""
    machine = parts["machine"]
    versions = ", ".join(f"{name} {version}" for name, version in machine["versions"].items())
    facts = (machine["cpu"], f"{machine['cores']} cores", f"Python {machine['python']}", versions)
    blocks = {"machine": f"{', '.join(facts)}. {note}".strip()}
    if parts["outcomes"]:
        blocks["rounds"] = _tabulate_rounds(parts["outcomes"], parts["floors"])
    if "scale" in parts:
        titles = ("model MB", "nodes", "rounds", "seconds", "ms per node", "CPU ms per node")
        rows = [describe_scale(outcome) for outcome in parts["scale"]]
        blocks["scale"] = _tabulate((*titles, "memory over base, MB", "in models"), rows)
    if "wan" in parts:
        titles = ("", "model MB", "down s", "up s", "down, of plain TCP", "up, of plain TCP")
        rows = [describe_crossing(each, parts["wan"][0]) for each in parts["wan"]]
        blocks["line"] = _tabulate(titles, [[_NAMES[row[0]], *row[1:]] for row in rows])
    if "big" in parts:
        blocks["big"] = _tabulate_big(parts["big"])
    return blocks


def build_panels(scale: Sequence[Outcome]) -> list[Panel]:
    """Return the panels of the plot: seconds and memory against nodes, a line for each size of the model."""
    seconds: dict[str, list[tuple[float, float]]] = {}
    memory: dict[str, list[tuple[float, float]]] = {}
    for outcome in scale:
        name = f"model of {model_bytes(outcome.size) / _MB:.3g} MB"
        if outcome.median_s and outcome.peak_over_base:
            seconds.setdefault(name, []).append((outcome.nodes, outcome.median_s))
            memory.setdefault(name, []).append((outcome.nodes, outcome.peak_over_base / _MB))
    if not seconds:
        return []
    return [Panel("seconds of a round", seconds), Panel("server's peak memory over base, MB", memory)]


def replace_blocks(page: str, blocks: Mapping[str, str]) -> str:
    """Replace what is between `<!-- bench: NAME -->` and `<!-- /bench -->`."""
    for name, text in blocks.items():
        before, begin, rest = page.partition(f"<!-- bench: {name} -->\n")
        _, end, after = rest.partition("<!-- /bench -->")
        if not end:
            raise ValueError(f"{PAGE.name}: no block {name}")
        page = f"{before}{begin}\n{text}\n\n{end}{after}"
    return page


def _build(kind: Callable[..., T], values: Mapping[str, Any]) -> T:
    return kind(**{each.name: values[each.name] for each in fields(kind) if each.init})  # type: ignore[arg-type]


def _tabulate_rounds(outcomes: Mapping[tuple[str, str], Outcome], floors: Mapping[str, Floor]) -> str:
    rows = []
    for engine, name in _NAMES.items():
        small, large = (outcomes.get((engine, size)) for size in ("small", "large"))
        if small or large:
            peak = large.peak_rss if large else None
            cells = [_seconds(each.median_s if each else None) for each in (small, large)]
            rows.append([name, *cells, "-" if peak is None else f"{peak / _MB:.0f}"])
    bounds = [floors.get(size) for size in ("small", "large")]
    if any(bounds):
        cells = [_seconds(bound.total_s if bound else None) for bound in bounds]
        rows.append(["plain TCP and one weighted average", *cells, ""])
    return _tabulate(("engine", "0.87 MB model, s", "100 MB model, s", "server's peak at 100 MB, MB"), rows)


def _tabulate_big(big: Big) -> str:
    median, bound = big.link.median_s, big.floor.total_s
    times = "-" if median is None else f"{median / bound:.1f}"
    row = [_seconds(median), _seconds(bound), times, describe_scale(big.link)[-1]]
    return _tabulate(("round, s", "floor, s", "times the floor", "memory over base, models"), [row])


def _tabulate(titles: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [titles, ["---"] * len(titles), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _seconds(value: float | None) -> str:
    return "-" if value is None else f"{value:.2g}" if value < 1 else f"{value:.1f}"


if __name__ == "__main__":
    run_program(main)
