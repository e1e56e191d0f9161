"""The part `scale`: rounds of the direct link with more and more nodes, which are threads in a few processes.

The server may keep two models of updates in memory, so that a row shows what grows with the nodes and what
does not. With the large model, the nodes are in one process and begin to send their updates at one moment.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from bench.engines import direct_link, pair
from bench.flower_app.null_app.model import model_bytes
from bench.outcome import Job, Outcome

UPDATE_MODELS = 2
"""The server's budget for updates, in models."""

_LIMIT_S = 240.0


@dataclass(frozen=True)
class _Row:
    size: str
    nodes: int
    rounds: int
    processes: int


_ROWS = (
    _Row("small", 2, 40, 2),
    _Row("small", 10, 20, 4),
    _Row("small", 50, 10, 4),
    _Row("small", 200, 4, 4),
    _Row("small", 500, 3, 4),
    _Row("large", 2, 3, 1),
    _Row("large", 5, 3, 1),
    _Row("large", 20, 2, 1),
)


def measure() -> Iterator[Outcome]:
    """Yield the outcome of each row."""
    for row in _ROWS:
        job = Job("link", row.size, row.rounds, _LIMIT_S, nodes=row.nodes)
        env = {"UPDATE_MEMORY": str(UPDATE_MODELS * model_bytes(row.size))}
        yield pair.measure(job, direct_link.plain(env=env, node_processes=min(row.processes, row.nodes)))
