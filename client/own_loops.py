"""Calls a task's own `train` and `evaluate`, and reads the numbers that they return."""

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from client.context import Context
from client.metrics import COUNT, LOSS, check_spelling
from client.mx import gluon, mx
from client.proximal import ProximalTerm
from client.seeding import seed_call
from client.task import Task, Train
from client.task_errors import task_errors
from client.task_functions import describe
from fedmx.errors import SettingsError, TrainingFailedError

_EXPECTED = "expected a dict of numbers by name, or such a dict and a positive weight"


def train(
    net: gluon.Block, task: Task, data: gluon.data.Dataset, context: Context, seed: list[int]
) -> dict[str, float]:
    """Train in place by the task's own function.

    Args:
        net: initialized, on the context's devices.
        task: has `train`.
        data: the node's training data.
        context: the context of this round.
        seed: of all generators, for this message alone.

    Returns:
        What the function returned, and `num-examples`: its weight, by default the number of examples.

    Raises:
        TrainingFailedError: the loss is among the numbers and is not finite.
        SettingsError: the function raises, returns something else, or ignores PROXIMAL_MU.
    """
    mu = context.hyperparameters.proximal_mu
    # Of all parameters: the task may change which ones are trained.
    proximal = ProximalTerm(list(net.collect_params().values()), mu)
    seed_call(seed)
    numbers, weight = _Loop(task, "train").run(net, data, replace(context, _proximal=proximal))
    if mu > 0 and not proximal.was_pulled:
        raise SettingsError(
            f"PROXIMAL_MU={mu:g}: train() of TASK={task.name} never called context.pull(net);"
            " expected its term in the loss, or PROXIMAL_MU=0"
        )
    if not math.isfinite(numbers.get(LOSS, 0.0)):
        raise TrainingFailedError(
            f"TASK={task.name}: train() returned the loss {numbers[LOSS]}; expected a finite number"
        )
    if weight != int(weight):
        raise SettingsError(f"TASK={task.name}: train() returned the weight {weight:g}; expected an integer")
    return {**numbers, COUNT: int(weight)}


def evaluate(net: gluon.Block, task: Task, data: gluon.data.Dataset, context: Context) -> dict[str, float]:
    """Evaluate by the task's own function.

    Returns:
        What the function returned, and `num-examples`: its weight, by default the number of examples.

    Raises:
        SettingsError: the function raises or returns something else.
    """
    numbers, weight = _Loop(task, "evaluate").run(net, data, context)
    return {**numbers, COUNT: weight}


class _Loop:
    """A function of a task.

    Args:
        task: has the function.
        name: `train` or `evaluate`.
    """

    def __init__(self, task: Task, name: str) -> None:
        self._task_name = task.name
        self._part = f"{name}()"
        self._function: Train = getattr(task, name)

    def run(
        self, net: gluon.Block, data: gluon.data.Dataset, context: Context
    ) -> tuple[dict[str, float], float]:
        """Return the function's numbers and their weight."""
        with task_errors(self._task_name, self._part), context.devices[0]:
            returned = self._function(net, data, context)
            # MXNet computes in the background, and raises where a result is awaited.
            mx.nd.waitall()
        is_weighted = isinstance(returned, tuple) and len(returned) == 2  # noqa: PLR2004 - numbers, weight
        numbers, weight = returned if is_weighted else ({} if returned is None else returned, len(data))
        if not isinstance(numbers, Mapping):
            raise SettingsError(self._describe(describe(numbers)))
        numbers = self._rename(numbers)
        check_spelling(self._task_name, self._part, numbers)
        if COUNT in numbers:
            raise SettingsError(f"{self._describe(repr(COUNT))} such as `return numbers, weight`")
        parsed = {key: self._to_number(key, value) for key, value in numbers.items()}
        weight = self._to_number("the weight", weight)
        if not (math.isfinite(weight) and weight > 0):
            raise SettingsError(self._describe(f"the weight {weight:g}"))
        return parsed, weight

    def _rename(self, numbers: Mapping[Any, Any]) -> dict[Any, Any]:
        """Replace whitespace in names by `_`: MXNet's Estimator has names such as `training accuracy`."""
        renamed: dict[Any, Any] = {}
        for name, value in numbers.items():
            new = "_".join(name.split()) if isinstance(name, str) else name
            if new in renamed:
                raise SettingsError(self._describe(f"two numbers named {new!r}"))
            renamed[new] = value
        return renamed

    def _to_number(self, name: str, value: Any) -> float:
        try:
            array = np.asarray(value.asnumpy() if isinstance(value, mx.nd.NDArray) else value)
        # Nested lists of different lengths.
        except ValueError:
            raise SettingsError(self._describe(f"{describe(value)} for {name}")) from None
        if array.dtype.kind not in "biuf" or array.size != 1:
            raise SettingsError(self._describe(f"{describe(value)} for {name}"))
        return float(array.item())

    def _describe(self, found: str) -> str:
        return f"TASK={self._task_name}: {self._part} returned {found}; {_EXPECTED}"
