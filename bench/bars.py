"""The performance targets of the project, as plain functions of the measurements."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from bench.flower_app.null_app.model import model_bytes
from bench.outcome import Outcome

MB = 1_000_000
LINK_SMALL_S = 0.045
TIMES_FASTER = 3.0
PEAK_MODELS, PEAK_BASE_MB = 7, 150
FEDERATION_TAX = 1.15
TLS_SMALL_S, TLS_LARGE = 0.010, 1.4


@dataclass(frozen=True)
class Bar:
    """A measured figure and its target."""

    claim: str
    figure: str
    is_met: bool


def judge(outcomes: Iterable[Outcome], tax: float | None) -> list[Bar]:
    """Compare the outcomes with the targets; targets without a measurement are left out."""
    found = {(outcome.engine, outcome.size): outcome for outcome in outcomes}
    keys = (("link", "small"), ("link", "large"), ("deprecated", "large"))
    bars = list(_judge_link(*(found.get(key) for key in keys)))
    bars += _judge_tls({key: outcome.median_s for key, outcome in found.items()})
    if tax is not None:
        claim = f"federation tax at most {FEDERATION_TAX:g}"
        bars.append(Bar(claim, f"{tax:.3f}", tax <= FEDERATION_TAX))
    return bars


def _judge_tls(medians: Mapping[tuple[str, str], float | None]) -> Iterator[Bar]:
    plain, tls = medians.get(("link", "small")), medians.get(("tls", "small"))
    if plain and tls:
        claim = f"mutual TLS costs a round with the small model at most {1000 * TLS_SMALL_S:g} ms"
        yield Bar(claim, f"{1000 * (tls - plain):.1f} ms", tls - plain <= TLS_SMALL_S)
    plain, tls = medians.get(("link", "large")), medians.get(("tls", "large"))
    if plain and tls:
        claim = f"mutual TLS costs a round with the large model at most {TLS_LARGE - 1:.0%}"
        yield Bar(claim, f"{tls / plain - 1:.0%}", tls <= TLS_LARGE * plain)


def _judge_link(small: Outcome | None, large: Outcome | None, deprecated: Outcome | None) -> Iterator[Bar]:
    if small and small.median_s is not None:
        claim = f"link round with the small model at most {1000 * LINK_SMALL_S:g} ms"
        yield Bar(claim, f"{1000 * small.median_s:.1f} ms", small.median_s <= LINK_SMALL_S)
    if large and deprecated and large.median_s and deprecated.median_s:
        times = deprecated.median_s / large.median_s
        claim = f"link round with the large model at least {TIMES_FASTER:g} times faster than deprecated"
        yield Bar(claim, f"{times:.2f} times", times >= TIMES_FASTER)
    if large and large.peak_rss is not None:
        model = model_bytes("large")
        allowed = PEAK_MODELS * model + PEAK_BASE_MB * MB
        claim = f"server's peak memory with the large model at most {PEAK_MODELS} models + {PEAK_BASE_MB} MB"
        models = (large.peak_rss - PEAK_BASE_MB * MB) / model
        yield Bar(claim, f"{models:.2f} models + {PEAK_BASE_MB} MB", large.peak_rss <= allowed)
