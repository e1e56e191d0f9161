"""Logs two results per round at a client: its own, and the federation's once the server knows it."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

from client.metrics import COUNT
from fedmx.link.handler import Exchange
from fedmx.log import event
from fedmx.round_news import Result, RoundNews


@dataclass
class _Round:
    """This client's part in a round.

    Attributes:
        number: the round.
        news: what the server's messages report about the run.
        metrics: those of the evaluation, and those of the training as `train_NAME`.
        examples: how many it trained on.
        tested: how many it was evaluated on.
        seconds: of its work.
        bytes_up: of its replies; None if not measured.
        bytes_down: of the requests; None if not measured.
    """

    number: int
    news: RoundNews
    metrics: dict[str, float] = field(default_factory=dict)
    examples: float | None = None
    tested: float | None = None
    seconds: float = 0.0
    bytes_up: int | None = None
    bytes_down: int | None = None

    def log(self) -> None:
        event(
            "own result",
            round=self.number,
            rounds=self.news.rounds,
            metrics=self.metrics,
            examples=self.examples,
            tested=self.tested,
            seconds=round(self.seconds, 4),
            bytes_up=self.bytes_up,
            bytes_down=self.bytes_down,
            run=self.news.run_id,
        )


class Journal:
    """Logs at most two lines per round: this client's own result, then the federation's.

    A round's own line is logged once its evaluation is sent; without one, when the next round begins.

    Attributes:
        is_transfer_measured: whether `add_exchange` is called after each reply, as on the direct link.
    """

    def __init__(self) -> None:
        self.is_transfer_measured = False
        self._open: _Round | None = None
        self._run_id: str | None = None
        # Run and round of the newest result of the federation that was logged.
        self._logged: tuple[str | None, int] | None = None

    def begin(self, number: int, config: Mapping[str, object]) -> None:
        """Begin a round, and log the results of earlier rounds that are known by now.

        Args:
            number: the round.
            config: of the message that requests the work.
        """
        news = RoundNews.from_config(config)
        if self._open is None or (self._open.number, self._run_id) != (number, news.run_id):
            self._close()
            self._open = _Round(number, news)
        self._run_id = news.run_id
        self._log_federation(news.result)

    def add_training(self, metrics: Mapping[str, float], seconds: float) -> None:
        """Add the metrics of the round's training."""
        if self._open is not None:
            self._open.examples = metrics.get(COUNT)
            self._open.metrics |= {f"train_{name}": value for name, value in _choose(metrics).items()}
            self._open.seconds += seconds

    def add_evaluation(self, metrics: Mapping[str, float], seconds: float) -> None:
        """Add the metrics of the round's evaluation."""
        if self._open is not None:
            self._open.tested = metrics.get(COUNT)
            self._open.metrics |= _choose(metrics)
            self._open.seconds += seconds
            if not self.is_transfer_measured:
                self._close()

    def add_exchange(self, exchange: Exchange) -> None:
        """Add the bytes of a request and of its reply, which was sent."""
        if self._open is None or exchange.round != self._open.number:
            return
        self._open.bytes_up = exchange.bytes_up + (self._open.bytes_up or 0)
        self._open.bytes_down = exchange.bytes_down + (self._open.bytes_down or 0)
        if self._open.tested is not None:
            self._close()

    def end(self, result: str) -> None:
        """Log the remaining results when the membership ends.

        Args:
            result: the federation's result of the last round, in JSON; empty if the server did not send it.
        """
        self._close()
        self._log_federation(result)

    def _close(self) -> None:
        """Log the round's own line, unless it has no result."""
        found = self._open
        self._open = None
        if found is not None and (found.examples is not None or found.tested is not None):
            found.log()

    def _log_federation(self, text: str) -> None:
        """Log the federation's result of a round once, although several messages contain it."""
        result = Result.parse(text)
        if result is None or self._logged == (self._run_id, result.round):
            return
        self._logged = (self._run_id, result.round)
        event(
            "federation result",
            round=result.round,
            nodes=result.nodes,
            metrics=result.metrics,
            run=self._run_id,
        )


def _choose(metrics: Mapping[str, float]) -> dict[str, float]:
    """Return the metrics that are defined, without the number of examples."""
    return {name: value for name, value in metrics.items() if name != COUNT and math.isfinite(value)}
