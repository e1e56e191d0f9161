"""What a task's own functions get in a round: hyperparameters, devices, and FedProx's proximal term."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from client.mx import gluon, mx
from client.proximal import ProximalTerm
from fedmx.hyperparameters import Hyperparameters


@dataclass(frozen=True)
class Context:
    """One call of a task's functions.

    Attributes:
        hyperparameters: the server's, for this round.
        round: number of the round, from 1.
        devices: MXNet's contexts to compute on, at least one. The network is on all of them.
    """

    hyperparameters: Hyperparameters
    round: int = 1
    devices: tuple[mx.Context, ...] = field(default_factory=lambda: (mx.cpu(),))
    _proximal: ProximalTerm = field(default_factory=lambda: ProximalTerm([], 0.0), repr=False)

    @property
    def epochs(self) -> int:
        """How often to train on each example: LOCAL_EPOCHS."""
        return self.hyperparameters.local_epochs

    @property
    def batch_size(self) -> int:
        """Examples per step: BATCH_SIZE."""
        return self.hyperparameters.batch_size

    @property
    def learning_rate(self) -> float:
        """Learning rate of this round: LEARNING_RATE times the factor of LR_SCHEDULE."""
        return self.hyperparameters.learning_rate

    @property
    def options(self) -> Mapping[str, Any]:
        """The server's TASK_OPTIONS."""
        return self.hyperparameters.task_options

    def pull(self, net: gluon.Block) -> mx.nd.NDArray:
        """Return FedProx's proximal term for a network or a part of it, to be added to a loss.

        The term is that of Li et al. 2020 (arXiv:1812.06127): PROXIMAL_MU / 2 times the squared distance of
        the trained parameters from the global model's. Added to losses per example, it counts once per
        example, and `trainer.step(batch_size)` divides it again; added to a mean loss, it counts once.

        Returns:
            float32 (1,), on the first device; 0 if PROXIMAL_MU is 0.
        """
        return self._proximal.loss(net, self.devices[0])
