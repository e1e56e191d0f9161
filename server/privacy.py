"""Differential privacy around a strategy: clipped updates, noise that cannot be guessed, what a round spends.

Names, defaults and configuration are Flower's. What the guarantee hangs on is done here, because Flower
1.42 draws noise from numpy's global generator (which can be reseeded and replayed), leaves scalars unclipped,
divides by the length of an update that changed nothing, moves an adaptive norm before it calibrates the noise
to it, and moves it away from its target. The number of updates in a round, and the metrics, are not hidden.
"""

import math
import os
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
from flwr.app import ArrayRecord, Message, MetricRecord
from flwr.serverapp import strategy as flower
from flwr.supercore.differential_privacy import compute_stdv
from flwr.supercore.privacy_accounting import (
    GaussianPrivacyEvent,
    NeighboringRelation,
    PrivacyConfig,
    SamplingMethod,
)
from flwr.supercore.privacy_accounting.rdp_accountant import RdpAccountant
from numpy.typing import NDArray

from fedmx import arrays
from fedmx.errors import SettingsError
from fedmx.settings import ServerSettings
from server.strategy_arguments import find_problems
from server.update import records_of

_FIXED = {"noise_multiplier": 1.0, "clipping_norm": 1.0}
_ADAPTIVE = {
    "noise_multiplier": 0.5,
    "initial_clipping_norm": 0.1,
    "target_clipped_quantile": 0.5,
    "clip_norm_lr": 0.2,
    "clipped_count_stddev": None,
}


def draw_gaussian(count: int, stddev: float) -> NDArray[np.float64]:
    """Draw from a normal distribution with the system's entropy (Box and Muller, 1958).

    Args:
        count: values to draw.
        stddev: their standard deviation.
    """
    pairs = (count + 1) // 2
    bits = np.frombuffer(os.urandom(16 * pairs), dtype=np.uint64) >> np.uint64(11)
    uniform = (bits.astype(np.float64) + 1.0) * 2.0**-53  # in (0, 1]: its logarithm is finite
    radius = np.sqrt(-2.0 * np.log(uniform[:pairs])) * stddev
    angle = 2.0 * math.pi * uniform[pairs:]
    drawn: NDArray[np.float64] = np.concatenate([radius * np.cos(angle), radius * np.sin(angle)])[:count]
    return drawn


def clip(update: ArrayRecord, start: ArrayRecord, norm: float) -> tuple[ArrayRecord, bool]:
    """Shorten what an update changed to at most `norm`, over all arrays together; tell whether it was longer.

    Args:
        update: the arrays after training.
        start: the arrays before it.
        norm: the most that the L2 norm of their difference may be.
    """
    length = math.sqrt(sum(float(np.square(_difference(update, start, name)).sum()) for name in update))
    if length <= norm:
        return update, False
    clipped = ArrayRecord()
    for name in update:
        before: NDArray[Any] = arrays.view(start[name])
        values = before + _difference(update, start, name) * (norm / length)
        clipped[name] = arrays.pack(values.astype(before.dtype))
    return clipped, True


class FixedClipping(flower.DifferentialPrivacyServerSideFixedClipping):
    """Central differential privacy with a fixed clipping norm (McMahan et al. 2018, arXiv:1710.06963)."""

    def aggregate_train(
        self, server_round: int, replies: Iterable[Message]
    ) -> tuple[ArrayRecord | None, MetricRecord | None]:
        """Clip, average and add noise, calibrated to the updates at hand."""
        replies = list(replies)
        _clip_all(replies, self.current_arrays, self.clipping_norm)
        aggregated, metrics = self.strategy.aggregate_train(server_round, replies)
        stddev = compute_stdv(self.noise_multiplier, self.clipping_norm, len(replies))
        return _add_noise(aggregated, stddev), metrics


class AdaptiveClipping(flower.DifferentialPrivacyServerSideAdaptiveClipping):
    """Central differential privacy whose norm follows a quantile (Andrew et al. 2021, arXiv:1905.03871).

    `noise_multiplier` is divided between the model and the count of clipped updates, so that both together
    spend what a single release with it would.
    """

    def aggregate_train(
        self, server_round: int, replies: Iterable[Message]
    ) -> tuple[ArrayRecord | None, MetricRecord | None]:
        """Clip, average and add noise, calibrated to the updates at hand; then move the norm."""
        replies = list(replies)
        norm = self.clipping_norm
        count = _clip_all(replies, self.current_arrays, norm)
        fraction = (count + float(draw_gaussian(1, self.clipped_count_stddev)[0])) / len(replies)
        self.clipping_norm *= math.exp(self.clip_norm_lr * (fraction - self.target_clipped_quantile))
        aggregated, metrics = self.strategy.aggregate_train(server_round, replies)
        stddev = compute_stdv(self.noise_multiplier, norm, len(replies))
        return _add_noise(aggregated, stddev), metrics


class PrivacyAccountant:
    """Counts the privacy that a run has spent, by Renyi accounting without amplification by sampling.

    Args:
        noise_multiplier: of the Gaussian mechanism, for clipping norm 1 and one update more or less.
        nodes: updates a round.
        delta: at which epsilon is computed.
    """

    def __init__(self, noise_multiplier: float, nodes: int, delta: float) -> None:
        config = PrivacyConfig(
            delta, nodes, NeighboringRelation.ADD_OR_REMOVE_ONE, SamplingMethod.NO_AMPLIFICATION
        )
        self.noise_multiplier = noise_multiplier
        self._nodes = nodes
        self._accountant = RdpAccountant(config)

    def count(self, releases: Iterable[float]) -> None:
        """Count models that were released before, each by its noise multiplier."""
        for noise_multiplier in releases:
            self._accountant.compose(GaussianPrivacyEvent(noise_multiplier, self._nodes, self._nodes))

    def spend(self) -> dict[str, float]:
        """Count one release more; give what all of them have spent, as the history keeps it."""
        self.count([self.noise_multiplier])
        spent = self._accountant.get_privacy_spent()
        return {"epsilon": spent.epsilon, "delta": spent.delta}


def wrap(
    strategy: flower.Strategy, settings: ServerSettings, nodes: int
) -> tuple[flower.Strategy, PrivacyAccountant]:
    """Wrap a strategy as DP_MODE says.

    Args:
        strategy: a plain average.
        settings: what the server was told.
        nodes: updates a round.

    Raises:
        SettingsError: an argument is unknown or wrong.
    """
    is_fixed = settings.dp_mode == "dp-fixed"
    defaults: Mapping[str, Any] = _FIXED if is_fixed else _ADAPTIVE
    problems = find_problems("DP_ARGS", settings.dp_args, defaults)
    if problems:
        raise SettingsError(problems)
    arguments = {**defaults, **settings.dp_args}
    ledger = PrivacyAccountant(arguments["noise_multiplier"], nodes, settings.dp_delta)
    kind = FixedClipping if is_fixed else AdaptiveClipping
    try:
        return kind(strategy, num_sampled_clients=nodes, **arguments), ledger
    except ValueError as error:
        raise SettingsError(f"DP_ARGS with {nodes} nodes a round: {error}") from None


def _difference(update: ArrayRecord, start: ArrayRecord, name: str) -> NDArray[np.float64]:
    before: NDArray[Any] = arrays.view(start[name])
    change: NDArray[np.float64] = arrays.view(update[name]).astype(np.float64) - before
    return change


def _clip_all(replies: list[Message], start: ArrayRecord, norm: float) -> int:
    """Clip every reply's arrays in place; count those that were longer."""
    count = 0
    for reply in replies:
        reply.content["arrays"], was_longer = clip(records_of(reply.content, ArrayRecord)[0], start, norm)
        count += was_longer
    return count


def _add_noise(record: ArrayRecord | None, stddev: float) -> ArrayRecord | None:
    if record is None:
        return None
    noisy = ArrayRecord()
    for name, array in record.items():
        values: NDArray[Any] = arrays.view(array)
        noise = draw_gaussian(values.size, stddev).reshape(values.shape)
        noisy[name] = arrays.pack((values + noise).astype(values.dtype))
    return noisy
