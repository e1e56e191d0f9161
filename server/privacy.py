"""Differential privacy around a strategy: what each round spends, and noise that cannot be guessed.

Clipping is Flower's. Three things are not, because the guarantee hangs on them: the noise comes from the system's
entropy instead of numpy's global generator (which can be reseeded and replayed), it is calibrated to the number of
updates that were admitted, and with adaptive clipping to the norm that the updates were clipped with (Flower 1.42
moves the norm first).
"""

import math
import os
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
from flwr.app import ArrayRecord, ConfigRecord, Message, MetricRecord
from flwr.serverapp import Grid
from flwr.serverapp import strategy as flower
from flwr.supercore.differential_privacy import compute_adaptive_noise_params, compute_stdv
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
    return np.concatenate([radius * np.cos(angle), radius * np.sin(angle)])[:count]


def _add_noise(record: ArrayRecord, stddev: float) -> ArrayRecord:
    noisy = ArrayRecord()
    for name, array in record.items():
        values = arrays.view(array)
        noise = draw_gaussian(values.size, stddev).reshape(values.shape)
        noisy[name] = arrays.pack((values + noise).astype(values.dtype))
    return noisy


class FixedClipping(flower.DifferentialPrivacyServerSideFixedClipping):
    """Central differential privacy with a fixed clipping norm (McMahan et al. 2018, arXiv:1710.06963)."""

    def aggregate_train(
        self, server_round: int, replies: Iterable[Message]
    ) -> tuple[ArrayRecord | None, MetricRecord | None]:
        """Clip, average and add noise, calibrated to the updates at hand."""
        replies = list(replies)
        self.num_sampled_clients = len(replies)
        return super().aggregate_train(server_round, replies)

    def _add_noise_to_aggregated_arrays(self, aggregated_arrays: ArrayRecord) -> ArrayRecord:
        stddev = compute_stdv(self.noise_multiplier, self.clipping_norm, self.num_sampled_clients)
        return _add_noise(aggregated_arrays, stddev)


class AdaptiveClipping(flower.DifferentialPrivacyServerSideAdaptiveClipping):
    """Central differential privacy whose norm follows a quantile (Andrew et al. 2021, arXiv:1905.03871)."""

    def __init__(
        self, strategy: flower.Strategy, num_sampled_clients: int, arguments: Mapping[str, Any]
    ) -> None:
        super().__init__(strategy, num_sampled_clients=num_sampled_clients, **arguments)
        self._total_noise_multiplier = arguments["noise_multiplier"]
        self._given_count_stddev = arguments["clipped_count_stddev"]
        self._clipped_with = self.clipping_norm

    def configure_train(
        self, server_round: int, arrays: ArrayRecord, config: ConfigRecord, grid: Grid
    ) -> Iterable[Message]:
        """Remember the norm that this round's updates are clipped with."""
        self._clipped_with = self.clipping_norm
        return super().configure_train(server_round, arrays, config, grid)

    def aggregate_train(
        self, server_round: int, replies: Iterable[Message]
    ) -> tuple[ArrayRecord | None, MetricRecord | None]:
        """Clip, average and add noise, calibrated to the updates at hand."""
        replies = list(replies)
        self.num_sampled_clients = len(replies)
        self.clipped_count_stddev, self.noise_multiplier = compute_adaptive_noise_params(
            self._total_noise_multiplier, len(replies), self._given_count_stddev
        )
        return super().aggregate_train(server_round, replies)

    def _noisy_fraction(self, count: int, total: int) -> float:
        return float(count + draw_gaussian(1, self.clipped_count_stddev)[0]) / total

    def _add_noise_to_aggregated_arrays(self, aggregated: ArrayRecord) -> ArrayRecord:
        stddev = compute_stdv(self.noise_multiplier, self._clipped_with, self.num_sampled_clients)
        return _add_noise(aggregated, stddev)


class PrivacyLedger:
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
        self._event = GaussianPrivacyEvent(noise_multiplier, nodes, nodes)
        self._accountant = RdpAccountant(config)

    def spend(self) -> dict[str, float]:
        """Count one release; give what all of them have spent, as the history keeps it."""
        self._accountant.compose(self._event)
        spent = self._accountant.get_privacy_spent()
        return {"epsilon": spent.epsilon, "delta": spent.delta}


def wrap(strategy: flower.Strategy, settings: ServerSettings) -> tuple[flower.Strategy, PrivacyLedger]:
    """Wrap a strategy as DP_MODE says.

    Raises:
        SettingsError: an argument is unknown or wrong.
    """
    defaults: Mapping[str, Any] = _FIXED if settings.dp_mode == "dp-fixed" else _ADAPTIVE
    problems = _find_problems(settings.dp_args, defaults)
    if problems:
        raise SettingsError(problems)
    arguments = {**defaults, **settings.dp_args}
    nodes = settings.num_partitions or settings.min_clients
    ledger = PrivacyLedger(arguments["noise_multiplier"], nodes, settings.dp_delta)
    try:
        if settings.dp_mode == "dp-fixed":
            return FixedClipping(strategy, num_sampled_clients=nodes, **arguments), ledger
        return AdaptiveClipping(strategy, nodes, arguments), ledger
    except ValueError as error:
        raise SettingsError(f"DP_ARGS with {nodes} nodes: {error}") from None


def _find_problems(given: Mapping[str, Any], defaults: Mapping[str, Any]) -> list[str]:
    problems = []
    for name, value in given.items():
        if name not in defaults:
            problems.append(f"DP_ARGS: {name!r} is unknown; expected {', '.join(defaults)}")
        elif isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < math.inf:
            problems.append(f"DP_ARGS: {name}={value!r}: expected a finite number above 0")
    return problems
