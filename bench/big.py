"""The part `big`: one node with a model of 2 GB, in plain, and the floor of the same bytes."""

from dataclasses import dataclass

from bench import floor
from bench.engines import direct_link, pair
from bench.floor import Floor
from bench.outcome import Job, Outcome

SIZE = "huge"
_ROUNDS = 2
_LIMIT_S = 240.0


@dataclass(frozen=True)
class Big:
    """The link's rounds and the lower bound for one node."""

    link: Outcome
    floor: Floor


def measure() -> Big:
    """Measure both."""
    bound = floor.measure(SIZE, _ROUNDS, nodes=1)
    return Big(pair.measure(Job("link", SIZE, _ROUNDS, _LIMIT_S, nodes=1), direct_link.plain()), bound)
