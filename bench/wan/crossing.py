"""How fast a model crossed the line in each direction."""

import statistics
from dataclasses import dataclass

from bench.engines.null_node import BEGAN, ENDED
from bench.flower_app.null_app.model import model_bytes
from bench.outcome import Outcome


@dataclass(frozen=True)
class Crossing:
    """The seconds of one model in each direction, the delay included.

    Attributes:
        engine: its name.
        bytes: of the model.
        down_s: from the start of the evaluation at the server to its start at the node, which does not have
            the round's model yet; None if unknown.
        up_s: from the end of training at the node to the beginning of the aggregation; None if unknown.
    """

    engine: str
    bytes: int
    down_s: float | None
    up_s: float | None

    @classmethod
    def read(cls, outcome: Outcome) -> "Crossing":
        """Return the medians of an engine's rounds with one node."""
        downs = [times[BEGAN] - times["evaluate"] for times in outcome.times]
        ups = [times["aggregate"] - times[ENDED] for times in outcome.times]
        return cls(
            outcome.engine,
            model_bytes(outcome.size),
            statistics.median(downs) if downs else None,
            statistics.median(ups) if ups else None,
        )

    def compare(self, raw: "Crossing") -> tuple[float, float] | None:
        """Return the rates down and up as fractions of those of one plain TCP stream; None if unknown."""
        if not (self.down_s and self.up_s and raw.down_s and raw.up_s):
            return None
        return raw.down_s / self.down_s, raw.up_s / self.up_s
