"""News about the run in the server's messages, which a client only logs.

They are part of the config of each train and evaluate message. Requests are identified by a digest of their
content, so news must be the same after a crash: they derive from the settings and the history alone. The
federation's result of a round is known only after its evaluation: it travels with the next round's messages,
and that of the last round with the goodbye. A client ignores entries that it does not know or cannot read.
"""

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

# Entries of a message's config.
_RUN = "run-id"
_ROUNDS = "num-rounds"
_RESULT = "federation-result"

MAX_TEXT = 4_096
"""How long the JSON of a result may be."""
_LONGEST_RUN = 128
_LONGEST_NAME = 64
_MOST_METRICS = 20
_MOST_ROUNDS = 10**9


@dataclass(frozen=True)
class Result:
    """The federation's result of a round.

    Attributes:
        round: its number.
        nodes: how many nodes' updates were aggregated.
        metrics: the means of all nodes' evaluation; without one, those of their training as `train_NAME`.
    """

    round: int
    nodes: int
    metrics: Mapping[str, float]

    @classmethod
    def from_line(cls, line: Mapping[str, Any]) -> Self:
        """Read it from a line of `history.jsonl`."""
        if line["evaluate"] is not None:
            metrics = line["evaluate"]["metrics"]
        else:
            trained = line["train"] or {"metrics": {}}
            metrics = {f"train_{name}": value for name, value in trained["metrics"].items()}
        return cls(line["round"], len(line["nodes"]), metrics)

    def to_text(self) -> str:
        """Return it as JSON; metrics beyond the limits are left out."""
        metrics = {name: value for name, value in self.metrics.items() if len(name) <= _LONGEST_NAME}
        while True:
            metrics = dict(list(metrics.items())[:_MOST_METRICS])
            text = json.dumps({"round": self.round, "nodes": self.nodes, "metrics": metrics})
            if len(text) <= MAX_TEXT:
                return text
            metrics.popitem()

    @classmethod
    def parse(cls, text: str) -> Self | None:
        """Parse a text that came over the wire; return None if it is not a result."""
        if not 0 < len(text) <= MAX_TEXT:
            return None
        try:
            values = json.loads(text)
            found = {name: float(value) for name, value in values["metrics"].items()}
            result = cls(values["round"], values["nodes"], found)
        except (ValueError, OverflowError, RecursionError, LookupError, TypeError, AttributeError):
            return None
        if not (_is_count(result.round) and _is_count(result.nodes)) or len(found) > _MOST_METRICS:
            return None
        is_readable = all(len(name) <= _LONGEST_NAME and math.isfinite(found[name]) for name in found)
        return result if is_readable else None


@dataclass(frozen=True)
class RoundNews:
    """What a message reports about its run.

    Attributes:
        run_id: the run's name; None from a server that does not send it.
        rounds: the number of rounds of the run.
        result: the federation's result of the round before, in JSON; empty in round 1.
    """

    run_id: str | None = None
    rounds: int | None = None
    result: str = ""

    def to_config(self) -> dict[str, str | int]:
        """Return the entries of a message's config."""
        config: dict[str, str | int] = {} if self.run_id is None else {_RUN: self.run_id}
        if self.rounds is not None:
            config[_ROUNDS] = self.rounds
        if self.result:
            config[_RESULT] = self.result
        return config

    @classmethod
    def from_config(cls, config: Mapping[str, object]) -> Self:
        """Read it from a message's config; entries that are not valid are left out."""
        run_id, rounds, result = (config.get(key) for key in (_RUN, _ROUNDS, _RESULT))
        return cls(
            run_id if isinstance(run_id, str) and 0 < len(run_id) <= _LONGEST_RUN else None,
            rounds if isinstance(rounds, int) and _is_count(rounds) else None,
            result if isinstance(result, str) and len(result) <= MAX_TEXT else "",
        )


def _is_count(value: object) -> bool:
    # Not isinstance: True is an int, too.
    return type(value) is int and 0 <= value < _MOST_ROUNDS
