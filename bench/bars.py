"""The performance targets of the project, as plain functions of the measurements."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from bench.big import Big
from bench.floor import Floor
from bench.flower_app.null_app.model import model_bytes
from bench.outcome import Outcome
from bench.wan.crossing import Crossing

MB = 1_000_000
TLS_SMALL, LINK_SMALL = 1.0, 0.8
LINK_LARGE, TLS_LARGE = 2.2, 3.0
PEAK_MODELS, PEAK_GROWTH, PEAK_SMALL_MB = 5, 1.15, 120
SECONDS_GROWTH = 1.5
WAN_RATE = 0.85
BIG_S, BIG_FLOOR_S = 8.0, 0.15
FEDERATION_TAX = 1.15


@dataclass(frozen=True)
class Bar:
    """A measured figure and its target."""

    claim: str
    figure: str
    is_met: bool


@dataclass(frozen=True)
class Measured:
    """What the targets depend on; what was not measured is empty."""

    outcomes: Sequence[Outcome] = ()
    floors: Sequence[Floor] = ()
    tax: float | None = None
    scale: Sequence[Outcome] = ()
    wan: Sequence[Crossing] = ()
    big: Big | None = None
    medians: Mapping[tuple[str, str], float] = field(init=False)

    def __post_init__(self) -> None:
        found = {(each.engine, each.size): each.median_s for each in self.outcomes}
        found |= {("floor", each.size): each.total_s for each in self.floors}
        object.__setattr__(self, "medians", {key: value for key, value in found.items() if value})


def judge(measured: Measured) -> list[Bar]:
    """Compare the measurements with the targets; targets without a measurement are left out."""
    bars = [*_judge_rounds(measured.medians), *_judge_scale(measured.scale), *_judge_wan(measured.wan)]
    if measured.big is not None and measured.big.link.median_s is not None:
        bars += _judge_big(measured.big.link.median_s, measured.medians.get(("floor", "large")))
    if measured.tax is not None:
        bars.append(_at_most(f"federation tax at most {FEDERATION_TAX:g}", measured.tax, FEDERATION_TAX))
    return bars


def _at_most(claim: str, value: float, most: float, unit: str = "") -> Bar:
    return Bar(claim, f"{value:.2f}{unit}", value <= most)


def _judge_rounds(medians: Mapping[tuple[str, str], float]) -> Iterator[Bar]:
    for engine, size, other, most in (
        ("tls", "small", "deprecated", TLS_SMALL),
        ("link", "small", "deprecated", LINK_SMALL),
        ("link", "large", "floor", LINK_LARGE),
        ("tls", "large", "floor", TLS_LARGE),
    ):
        if (engine, size) in medians and (other, size) in medians:
            claim = f"{engine} round with the {size} model at most {most:g} times that of {other}"
            yield _at_most(claim, medians[engine, size] / medians[other, size], most, " times")


def _judge_scale(rows: Sequence[Outcome]) -> Iterator[Bar]:
    seconds = {(row.size, row.nodes): row.median_s / row.nodes for row in rows if row.median_s}
    if ("small", 50) in seconds and ("small", 500) in seconds:
        claim = f"seconds per node with 500 nodes at most {SECONDS_GROWTH:g} times those with 50"
        yield _at_most(claim, seconds["small", 500] / seconds["small", 50], SECONDS_GROWTH, " times")
    peaks = {(row.size, row.nodes): row.peak_over_base for row in rows if row.peak_over_base}
    if ("small", 200) in peaks:
        claim = f"server's peak over base with 200 nodes and the small model at most {PEAK_SMALL_MB} MB"
        yield _at_most(claim, peaks["small", 200] / MB, PEAK_SMALL_MB, " MB")
    if ("large", 20) in peaks:
        claim = f"server's peak over base with 20 nodes and the large model at most {PEAK_MODELS} models"
        yield _at_most(claim, peaks["large", 20] / model_bytes("large"), PEAK_MODELS, " models")
    if ("large", 2) in peaks and ("large", 20) in peaks:
        claim = f"the same with 20 nodes at most {PEAK_GROWTH:g} times that with 2"
        yield _at_most(claim, peaks["large", 20] / peaks["large", 2], PEAK_GROWTH, " times")


def _judge_wan(crossings: Sequence[Crossing]) -> Iterator[Bar]:
    by_engine = {crossing.engine: crossing for crossing in crossings}
    if "link" not in by_engine or not (fractions := by_engine["link"].compare(crossings[0])):
        return
    for way, fraction in zip(("down", "up"), fractions, strict=True):
        claim = f"long line, {way}: link at least {WAN_RATE:.0%} of the rate of one plain TCP stream"
        yield Bar(claim, f"{fraction:.0%}", fraction >= WAN_RATE)


def _judge_big(seconds: float, floor_s: float | None) -> Iterator[Bar]:
    if floor_s is not None:
        most = BIG_S * floor_s / BIG_FLOOR_S
        claim = (
            f"2 GB: at most {BIG_S:g} s where the large model's floor is {BIG_FLOOR_S:g} s, here {most:.1f} s"
        )
        yield _at_most(claim, seconds, most, " s")
