"""A user's own strategy that does not aggregate."""

from collections.abc import Iterable

from flwr.app import ArrayRecord, Message, MetricRecord
from flwr.serverapp.strategy import FedAvg


class Raising(FedAvg):
    """Raises an error that is none of Flower's."""

    def aggregate_train(
        self, server_round: int, replies: Iterable[Message]
    ) -> tuple[ArrayRecord | None, MetricRecord | None]:
        raise KeyError(server_round, replies)

    def state_dict(self) -> dict[str, float]:
        return {}

    def load_state_dict(self, state: object) -> None:
        pass


def make() -> FedAvg:
    return Raising()
