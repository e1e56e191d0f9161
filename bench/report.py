"""The report of a measurement: tables on the screen and JSON in a file."""

import dataclasses
import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from rich.console import Console
from rich.table import Table

from bench.bars import MB, Bar, Measured, judge
from bench.big import Big
from bench.floor import Floor
from bench.flower_app.null_app.model import model_bytes
from bench.outcome import Outcome
from bench.tax import Tax
from bench.wan.crossing import Crossing

# Steps of the round whose memory is shown.
_STEPS = ("train", "aggregate", "evaluate")
RESULTS = Path(__file__).parent / "results"


@dataclass
class Report:
    """Everything that one call measured."""

    machine: Mapping[str, object]
    floors: list[Floor] = field(default_factory=list)
    outcomes: list[Outcome] = field(default_factory=list)
    memory: Outcome | None = None
    tax: Tax | None = None
    scale: list[Outcome] = field(default_factory=list)
    wan: list[Crossing] = field(default_factory=list)
    big: Big | None = None
    problems: list[str] = field(default_factory=list)

    @property
    def bars(self) -> list[Bar]:
        """The targets, compared with the measurements."""
        tax = None if self.tax is None else self.tax.ratio
        return judge(Measured(self.outcomes, self.floors, tax, self.scale, self.wan, self.big))

    def show(self) -> None:
        """Print the tables."""
        console = Console(width=None if Console().is_terminal else 150)
        big = [] if self.big is None else [self.big.link]
        tables = (
            _table_rounds(self.outcomes),
            _table_floors([*self.floors, *([] if self.big is None else [self.big.floor])]),
            _table_memory(self.memory),
            _table_tax(self.tax),
            _table_scale([*self.scale, *big]),
            _table_wan(self.wan),
            _table_bars(self.bars),
        )
        for table in tables:
            if table.row_count:
                console.print(table)
        for problem in self.problems:
            print(problem)

    def write(self, folder: Path = RESULTS) -> Path:
        """Write everything, with each round's seconds, to a file named after the time."""
        folder.mkdir(exist_ok=True)
        path = folder / time.strftime("%Y-%m-%dT%H%M%S.json")
        content = {**dataclasses.asdict(self), "bars": [dataclasses.asdict(bar) for bar in self.bars]}
        path.write_text(json.dumps(content, indent=2) + "\n")
        return path


def _table_rounds(outcomes: Sequence[Outcome]) -> Table:
    table = Table(title="One round: train, aggregate, evaluate; two nodes that compute nothing")
    table.add_column("engine")
    for title in ("model MB", "rounds", "first s", "median s", "min - max s"):
        table.add_column(title, justify="right")
    for title in ("down MB", "up MB", "loopback MB", "base MB", "peak MB"):
        table.add_column(title, justify="right")
    for outcome in outcomes:
        table.add_row(*_describe(outcome))
        if outcome.failure:
            table.add_row(f"  {outcome.failure}")
    return table


def _describe(outcome: Outcome) -> list[str]:
    seconds = outcome.seconds
    return [
        outcome.engine,
        _megabytes(model_bytes(outcome.size)),
        str(len(seconds)),
        _seconds(outcome.warm_up_s),
        _seconds(outcome.median_s),
        f"{min(seconds):.4f} - {max(seconds):.4f}" if seconds else "-",
        _megabytes(outcome.sent),
        _megabytes(outcome.received),
        _megabytes(outcome.loopback),
        _megabytes(outcome.base_rss),
        _megabytes(outcome.peak_rss),
    ]


def _table_floors(floors: Sequence[Floor]) -> Table:
    table = Table(title="Lower bound for a round on this machine")
    for title in ("model MB", "plain TCP s", "weighted average s", "both s"):
        table.add_column(title, justify="right")
    for floor in floors:
        seconds = (floor.transfer_s, floor.average_s, floor.total_s)
        table.add_row(_megabytes(model_bytes(floor.size)), *(f"{value:.4f}" for value in seconds))
    return table


def _table_scale(outcomes: Sequence[Outcome]) -> Table:
    table = Table(title="One round of the link with other numbers of nodes")
    for title in ("model MB", "nodes", "rounds", "median s", "ms per node", "CPU ms per node"):
        table.add_column(title, justify="right")
    for title in ("peak over base MB", "in models"):
        table.add_column(title, justify="right")
    for outcome in outcomes:
        table.add_row(*describe_scale(outcome))
        if outcome.failure:
            table.add_row(outcome.failure)
    return table


def describe_scale(outcome: Outcome) -> list[str]:
    """Return the cells of a row: model, nodes, rounds, seconds, per node, CPU per node, peak, in models."""
    median, cpu, peak = outcome.median_s, outcome.cpu_s, outcome.peak_over_base
    return [
        _megabytes(model_bytes(outcome.size)),
        str(outcome.nodes),
        str(len(outcome.seconds)),
        "-" if median is None else f"{median:.3f}",
        "-" if median is None else f"{1000 * median / outcome.nodes:.1f}",
        "-" if cpu is None else f"{1000 * cpu / outcome.nodes:.1f}",
        _megabytes(peak),
        "-" if peak is None else f"{peak / model_bytes(outcome.size):.1f}",
    ]


def _table_wan(crossings: Sequence[Crossing]) -> Table:
    table = Table(title="Through a line of 100 Mbit/s and 50 ms each way")
    for title in ("", "model MB", "down s", "up s", "down, of plain TCP", "up"):
        table.add_column(title, justify="right" if title else "left")
    for crossing in crossings:
        table.add_row(*describe_crossing(crossing, crossings[0]))
    return table


def describe_crossing(crossing: Crossing, raw: Crossing) -> list[str]:
    """Return the cells of a row: engine, model, seconds down and up, and both rates relative to plain TCP."""
    fractions = crossing.compare(raw)
    return [
        crossing.engine,
        _megabytes(crossing.bytes),
        *("-" if value is None else f"{value:.2f}" for value in (crossing.down_s, crossing.up_s)),
        *(["-", "-"] if fractions is None else [f"{fraction:.0%}" for fraction in fractions]),
    ]


def _table_memory(memory: Outcome | None) -> Table:
    table = Table("step", "MB", "models over base", title="The link's server: peak memory by step")
    if memory is not None:
        for step in _STEPS:
            peak = memory.peaks.get(step, 0)
            over = (peak - (memory.base_rss or 0)) / model_bytes(memory.size)
            table.add_row(step, _megabytes(peak), f"{over:.2f}")
    return table


def _table_tax(tax: Tax | None) -> Table:
    table = Table(title="MNIST, two nodes: seconds per round")
    table.add_column("repeat")
    for title in ("federated", "total", "the same steps alone", "total", "ratio"):
        table.add_column(title, justify="right")
    if tax is not None:
        for number, rounds in enumerate(zip(tax.federated_s, tax.alone_s, strict=True)):
            cells = [cell for seconds in rounds for cell in (_list(seconds), f"{sum(seconds):.3f}")]
            table.add_row(str(number + 1), *cells, f"{tax.ratios[number]:.3f}")
    return table


def _list(seconds: Sequence[float]) -> str:
    return "  ".join(f"{value:.3f}" for value in seconds)


def _table_bars(bars: Sequence[Bar]) -> Table:
    table = Table("target", "measured", "", title="Targets")
    for bar in bars:
        table.add_row(bar.claim, bar.figure, "met" if bar.is_met else "MISSED")
    return table


def _seconds(value: float | None) -> str:
    return "-" if value is None else f"{value:.4f}"


def _megabytes(count: int | None) -> str:
    if count is None:
        return "-"
    return f"{count / MB:.2f}" if count < 10 * MB else f"{count / MB:.0f}"
