"""Hostile nodes: clients that spoil their updates, each in another way."""

import math
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from flwr.app import ArrayRecord

from fedmx import arrays
from tests.federation.chaos.killing import replace

Update = tuple[ArrayRecord, dict[str, float]]
Way = Callable[[ArrayRecord, dict[str, float]], Update]


def lie_about_metrics(record: ArrayRecord, metrics: dict[str, float]) -> Update:
    return record, {**metrics, "loss": math.nan, "profit": 1e308}


def misshape(record: ArrayRecord, metrics: dict[str, float]) -> Update:
    return ArrayRecord({name: arrays.pack(np.ones(1, np.float32)) for name in record}), metrics


def poison(record: ArrayRecord, metrics: dict[str, float]) -> Update:
    values = {name: np.full_like(arrays.view(array), np.nan) for name, array in record.items()}
    return ArrayRecord({name: arrays.pack(value) for name, value in values.items()}), metrics


def have_no_examples(record: ArrayRecord, metrics: dict[str, float]) -> Update:
    return record, {**metrics, "num-examples": 0}


def fail(_: ArrayRecord, __: dict[str, float]) -> Update:
    raise RuntimeError("no disk, no driver, no luck")


def say_nothing(_: ArrayRecord, __: dict[str, float]) -> Update:
    threading.Event().wait()
    raise AssertionError("the event is never set")


class Mute:
    """A client that joins, and never answers a request."""

    def arm(self) -> None:
        """Make this process such a client."""

        def wrap(_: Callable[..., Any]) -> Callable[..., Any]:
            return lambda *_: threading.Event().wait()

        replace("fedmx.link.handler:call_app", wrap)


@dataclass(frozen=True)
class Hostile:
    """A client that spoils its updates: in the first of these ways in round 1, and so on in turn."""

    ways: tuple[Way, ...]

    def arm(self) -> None:
        """Make this process spoil its updates."""

        def wrap(train: Callable[..., Update]) -> Callable[..., Update]:
            def spoilt(
                trainer: Any, record: ArrayRecord, how: Any, server_round: int, seed: list[int]
            ) -> Update:
                spoil = self.ways[(server_round - 1) % len(self.ways)]
                return spoil(*train(trainer, record, how, server_round, seed))

            return spoilt

        replace("client.trainer:Trainer.train", wrap)
