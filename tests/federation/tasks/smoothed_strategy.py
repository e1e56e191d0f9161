"""A user's own strategy, which moves the model only a part of the way to the average of each round."""

from collections.abc import Iterable, Mapping

import numpy as np
from flwr.app import Array, ArrayRecord, Message, MetricRecord
from flwr.serverapp.strategy import FedAvg
from numpy.typing import NDArray


class Smoothed(FedAvg):
    """Averages the average of this round and the result of the round before."""

    def __init__(self, keep: float) -> None:
        super().__init__()
        self.keep = np.float32(keep)
        self.last: dict[str, NDArray[np.float32]] = {}

    def aggregate_train(
        self, server_round: int, replies: Iterable[Message]
    ) -> tuple[ArrayRecord | None, MetricRecord | None]:
        averaged, metrics = super().aggregate_train(server_round, replies)
        assert averaged is not None
        new = {name: array.numpy() for name, array in averaged.items()}
        if self.last:
            new = {name: self.keep * self.last[name] + (1 - self.keep) * new[name] for name in new}
        self.last = new
        return ArrayRecord({name: Array(values) for name, values in new.items()}), metrics

    def state_dict(self) -> Mapping[str, NDArray[np.float32]]:
        return dict(self.last)

    def load_state_dict(self, state: Mapping[str, NDArray[np.float32]]) -> None:
        self.last = dict(state)


def make(keep: float = 0.5) -> FedAvg:
    return Smoothed(keep)


def make_without_state() -> FedAvg:
    return FedAvg(min_train_nodes=9, min_available_nodes=9)
