"""Differential privacy around a strategy: clipped updates, noise from the system's entropy, accounting.

Names, defaults and configuration are Flower's. What the guarantee depends on is done here, because Flower
1.42 draws noise from numpy's global generator (which can be reseeded and replayed), leaves scalars unclipped,
divides by the length of an update that changed nothing, moves an adaptive norm before it calibrates the noise
to it, and moves it away from its target. The number of updates in a round, and the metrics, are not hidden.
"""

import copy
import math
import os
from collections.abc import Iterable, Mapping
from typing import Any, Protocol

import numpy as np
from flwr.app import ArrayRecord
from flwr.serverapp import strategy as flower
from numpy.typing import NDArray

from fedmx import arrays
from fedmx.settings import ServerSettings
from server import strategy_arguments

_FIXED = {"noise_multiplier": 1.0, "clipping_norm": 1.0}
_ADAPTIVE = {
    "noise_multiplier": 0.5,
    "initial_clipping_norm": 0.1,
    "target_clipped_quantile": 0.5,
    "clip_norm_lr": 0.2,
    "clipped_count_stddev": None,
}
_SUMMANDS = 4
"""Normal values summed for each value of noise, as many as Opacus sums."""
_CHUNK = 1 << 18
"""Values of noise drawn at a time, which bounds the memory for it."""


def draw_gaussian(count: int, stddev: float) -> NDArray[np.float64]:
    """Draw from a normal distribution with the system's entropy.

    A float64 from a generator of normal values carries fewer bits than a real number, so the gaps between the
    values that it can return may reveal what noise was added to (Mironov 2012, doi 10.1145/2382196.2382264).
    Each value is therefore the sum of several draws divided by the square root of their number, as in Opacus
    (Holohan and Braghin 2021, arXiv:2107.10138), which makes such an attack expensive instead of
    impossible: no discrete mechanism with an exact guarantee is used.

    Args:
        count: values to draw.
        stddev: their standard deviation.
    """
    drawn = np.empty(count, np.float64)
    for start in range(0, count, _CHUNK):
        part = drawn[start : start + _CHUNK]
        part[:] = sum(_draw_standard(part.size) for _ in range(_SUMMANDS))
        part *= stddev / math.sqrt(_SUMMANDS)
    return drawn


def _draw_standard(count: int) -> NDArray[np.float64]:
    """Draw standard normal values (Box and Muller, 1958)."""
    pairs = (count + 1) // 2
    bits = np.frombuffer(os.urandom(16 * pairs), dtype=np.uint64) >> np.uint64(11)
    # In (0, 1], so that the logarithm is finite.
    uniform = (bits.astype(np.float64) + 1.0) * 2.0**-53
    radius = np.sqrt(-2.0 * np.log(uniform[:pairs]))
    angle = 2.0 * math.pi * uniform[pairs:]
    drawn: NDArray[np.float64] = np.concatenate([radius * np.cos(angle), radius * np.sin(angle)])[:count]
    return drawn


def clip(update: ArrayRecord, start: ArrayRecord, norm: float) -> tuple[ArrayRecord, bool]:
    """Shorten what an update changed to at most `norm` over all arrays; return whether it was longer.

    Args:
        update: the arrays after training.
        start: the arrays before it.
        norm: the largest L2 norm that their difference may have.
    """
    length = math.sqrt(sum(float(np.square(_difference(update, start, name)).sum()) for name in update))
    if length <= norm:
        return update, False
    clipped = ArrayRecord()
    for name in update:
        before: NDArray[Any] = arrays.view(start[name])
        values = before + _difference(update, start, name) * (norm / length)
        clipped[name] = arrays.pack(np.asarray(values.astype(before.dtype)))
    return clipped, True


class Mechanism(Protocol):
    """Differential privacy around a plain average: both classes below."""

    clipping_norm: float
    current_arrays: ArrayRecord

    def start_release(self, updates: int, clipped: int) -> float:
        """Return the standard deviation of the noise on the average of the updates.

        Args:
            updates: how many were admitted in the round; each has the same weight.
            clipped: how many of them were longer than the norm.
        """


class FixedClipping(flower.DifferentialPrivacyServerSideFixedClipping):
    """Central differential privacy with a fixed clipping norm (McMahan et al. 2018, arXiv:1710.06963)."""

    def start_release(self, updates: int, clipped: int) -> float:  # noqa: ARG002 - only the adaptive norm needs it
        """Return the standard deviation of the noise on the average."""
        return float(self.noise_multiplier * self.clipping_norm / updates)


class AdaptiveClipping(flower.DifferentialPrivacyServerSideAdaptiveClipping):
    """Central differential privacy whose norm follows a quantile (Andrew et al. 2021, arXiv:1905.03871).

    `noise_multiplier` is divided between the model and the count of clipped updates, so that both together
    spend what a single release with it would.
    """

    def start_release(self, updates: int, clipped: int) -> float:
        """Return the standard deviation of the noise on the average, and move the norm for the next round."""
        norm = self.clipping_norm
        fraction = (clipped + float(draw_gaussian(1, self.clipped_count_stddev)[0])) / updates
        self.clipping_norm *= math.exp(self.clip_norm_lr * (fraction - self.target_clipped_quantile))
        return float(self.noise_multiplier * norm / updates)

    def state_dict(self) -> Mapping[str, float]:
        """Return the norm that clips in the next round."""
        return {"clipping_norm": self.clipping_norm}

    def load_state_dict(self, state: Mapping[str, NDArray[Any]]) -> None:
        """Restore the norm; a run without a round has none yet."""
        if "clipping_norm" in state:
            self.clipping_norm = float(state["clipping_norm"])


class PrivacyAccountant:
    """Counts the privacy that a run has spent: Renyi accounting, without amplification by sampling.

    Args:
        noise_multiplier: of the Gaussian mechanism, for clipping norm 1 and one update more or less.
        delta: at which epsilon is computed.
    """

    def __init__(self, noise_multiplier: float, delta: float) -> None:
        self.noise_multiplier = noise_multiplier
        self._delta = delta
        # It imports scipy, which takes more than a second: only where a run needs it.
        import dp_accounting.rdp  # type: ignore[import-untyped]  # noqa: PLC0415 - it ships no types; see above

        self._build_event = dp_accounting.GaussianDpEvent
        self._accountant = dp_accounting.rdp.RdpAccountant()

    def count(self, releases: Iterable[float]) -> None:
        """Count models that were released before, each by its noise multiplier."""
        for noise_multiplier in releases:
            self._accountant.compose(self._build_event(noise_multiplier))

    def look_ahead(self) -> float:
        """Return the epsilon that one more release would lead to."""
        ahead = copy.deepcopy(self._accountant).compose(self._build_event(self.noise_multiplier))
        return float(ahead.get_epsilon(self._delta))

    def spend(self) -> dict[str, float]:
        """Count one more release; return what all of them have spent, as in the history."""
        self.count([self.noise_multiplier])
        return {"epsilon": float(self._accountant.get_epsilon(self._delta)), "delta": self._delta}


def find_problems(settings: ServerSettings, nodes: int) -> list[str]:
    """Return what is wrong with DP_ARGS.

    Args:
        settings: the server's.
        nodes: updates per round.
    """
    problems = strategy_arguments.find_problems("DP_ARGS", settings.dp_args, _defaults(settings))
    if problems or settings.dp_mode == "dp-fixed":
        return problems
    arguments = _arguments(settings)
    noise_multiplier, stddev = arguments["noise_multiplier"], _count_stddev(arguments, nodes)
    # The count's noise alone would spend more than both releases may.
    if noise_multiplier < 2 * stddev:
        return []
    least = math.floor(10 * noise_multiplier) + 1
    problem = (
        f"DP_ARGS with {nodes} nodes per round: noise_multiplier={noise_multiplier} and"
        f" clipped_count_stddev={stddev:g}; expected a noise_multiplier below twice clipped_count_stddev,"
        f" whose default is nodes / 20: at least {least} nodes per round, or another value"
    )
    return [problem]


def spend_of_round(settings: ServerSettings) -> float:
    """Return the epsilon that the first round of a run spends."""
    return PrivacyAccountant(_arguments(settings)["noise_multiplier"], settings.dp_delta).look_ahead()


def wrap(
    strategy: flower.Strategy, settings: ServerSettings, nodes: int
) -> tuple[FixedClipping | AdaptiveClipping, PrivacyAccountant]:
    """Wrap a strategy according to DP_MODE.

    Args:
        strategy: a plain average.
        settings: the server's, without problems.
        nodes: updates per round.
    """
    arguments = _arguments(settings)
    accountant = PrivacyAccountant(arguments["noise_multiplier"], settings.dp_delta)
    if settings.dp_mode == "dp-fixed":
        return FixedClipping(strategy, num_sampled_clients=nodes, **arguments), accountant
    return AdaptiveClipping(strategy, num_sampled_clients=nodes, **arguments), accountant


def _defaults(settings: ServerSettings) -> Mapping[str, Any]:
    return _FIXED if settings.dp_mode == "dp-fixed" else _ADAPTIVE


def _arguments(settings: ServerSettings) -> dict[str, Any]:
    return {**_defaults(settings), **settings.dp_args}


def _count_stddev(arguments: Mapping[str, Any], nodes: int) -> float:
    """Return the standard deviation of the noise on the number of clipped updates, by Flower's default."""
    given = arguments["clipped_count_stddev"]
    return nodes / 20 if given is None else float(given)


def _difference(update: ArrayRecord, start: ArrayRecord, name: str) -> NDArray[np.float64]:
    before: NDArray[Any] = arrays.view(start[name])
    change: NDArray[np.float64] = arrays.view(update[name]).astype(np.float64) - before
    return change


def add_noise(values: NDArray[Any], stddev: float) -> NDArray[Any]:
    """Return values with noise, in their dtype."""
    noise = draw_gaussian(values.size, stddev).reshape(values.shape)
    return np.asarray((values + noise).astype(values.dtype))
