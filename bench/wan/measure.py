"""Measures the part `wan`: one node behind a long line, on three engines, and one plain TCP stream."""

from collections.abc import Iterator

from bench.engines import deprecated, direct_link, pair
from bench.flower_app.null_app.model import model_bytes
from bench.outcome import Job
from bench.wan import raw_stream
from bench.wan.crossing import Crossing
from bench.wan.proxy import lay_line

SIZE = "medium"
_ROUNDS = 3
_LIMIT_S = 120.0


def measure() -> Iterator[Crossing]:
    """Yield the plain stream's figures, then each engine's."""
    yield raw_stream.measure(model_bytes(SIZE), _ROUNDS)
    for engine, programs in (
        ("link", direct_link.plain),
        ("tls", direct_link.tls),
        ("deprecated", deprecated.programs),
    ):
        job = Job(engine, SIZE, _ROUNDS, _LIMIT_S, nodes=1)
        yield Crossing.read(pair.measure(job, programs(lay_line=lay_line)))
