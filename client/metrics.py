"""Losses and metrics of batches: their sums, and checks of their names and shapes."""

from collections.abc import Collection, Iterable, Mapping
from typing import Any

import numpy as np

from client.mx import mx
from fedmx import parsing
from fedmx.errors import SettingsError
from fedmx.log import printable

COUNT = "num-examples"
LOSS = "loss"


class Sums:
    """Sums of metrics, on the device: reading them waits for MXNet's engine, so once per epoch."""

    def __init__(self, task_name: str) -> None:
        self._task_name = task_name
        self._sums: dict[str, mx.nd.NDArray] = {}
        self._examples = 0

    def add(self, losses: mx.nd.NDArray, metrics: Mapping[str, Any]) -> None:
        """Add a batch, whose metrics have the names of the batches before.

        Args:
            losses: one per example.
            metrics: by name, one or several values per example, or the mean of the batch; any type of number.
        """
        values_by_name = {LOSS: losses, **metrics}
        if self._sums:
            check_metric_names(self._task_name, self._sums.keys(), values_by_name.keys())
        else:
            check_spelling(self._task_name, "metrics()", metrics)
        self._examples += len(losses)
        for name, values in values_by_name.items():
            total = self._sum(name, values, losses)
            if name in self._sums:
                # A part of the batch may have been measured on another device.
                self._sums[name] += total.as_in_context(self._sums[name].context)
            else:
                self._sums[name] = total

    def read(self) -> dict[str, float]:
        """Wait for the device and return the means."""
        return {name: float(total.asscalar()) / self._examples for name, total in self._sums.items()}

    def _sum(self, name: str, values: Any, losses: mx.nd.NDArray) -> mx.nd.NDArray:
        """Sum the values of a batch in float32; a mean counts once per example."""
        if not isinstance(values, mx.nd.NDArray):
            values = mx.nd.array(np.atleast_1d(np.asarray(values, np.float32)), ctx=losses.context)
        values = values.as_nd_ndarray().astype("float32", copy=False)
        if values.size == 1:
            return values.reshape(1) * len(losses)
        return average_each(self._task_name, name, values, len(losses)).sum(keepdims=True)


def check_metric_names(task_name: str, some: Collection[str], others: Collection[str]) -> None:
    """Check that two batches have the same metrics: the mean of one that a batch lacks would be wrong.

    Raises:
        SettingsError: they differ.
    """
    differing = set(some) ^ set(others)
    if differing:
        raise SettingsError(
            f"TASK={task_name}: metrics() returned {', '.join(sorted(differing))} for some batches only;"
            " expected the same names for every batch"
        )


def check_spelling(task_name: str, part: str, names: Iterable[object]) -> None:
    """Check that metrics have names that the history can contain.

    Raises:
        SettingsError: a name is not valid.
    """
    for name in names:
        try:
            parsing.name(name if isinstance(name, str) else "")
        except ValueError as error:
            found = printable(repr(name))[:100]
            raise SettingsError(f"TASK={task_name}: {part} returned the name {found}; {error}") from None


def average_each(task_name: str, name: str, values: mx.nd.NDArray, count: int) -> mx.nd.NDArray:
    """Average several values per example, such as one per pixel, to one."""
    if len(values) != count:
        raise SettingsError(
            f"TASK={task_name}: {name} has shape {values.shape} for a batch of {count};"
            " expected one row per example"
        )
    return values if values.ndim == 1 else values.reshape((count, -1)).mean(axis=1)
