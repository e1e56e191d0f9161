"""Builds the optimizer of the built-in loop from the hyperparameters."""

import inspect
import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from client.mx import gluon, mx
from fedmx.errors import SettingsError
from fedmx.hyperparameters import Hyperparameters


def make_trainer(parameters: list[gluon.Parameter], how: Hyperparameters) -> gluon.Trainer:
    """Build a trainer.

    OPTIMIZER_ARGS take precedence over the other settings. MOMENTUM applies to the optimizers that have one.

    Args:
        parameters: those to train, at least one.
        how: names the optimizer and its arguments.

    Raises:
        SettingsError: MXNet has no such optimizer, or it does not accept these arguments.
    """
    kind = mx.optimizer.Optimizer.opt_registry.get(how.optimizer)
    if kind is None:
        known = ", ".join(sorted(mx.optimizer.Optimizer.opt_registry))
        raise SettingsError(
            f"OPTIMIZER={how.optimizer}: MXNet has no such optimizer; expected one of {known}"
        )
    options: dict[str, Any] = {"learning_rate": how.learning_rate, "wd": how.weight_decay}
    if how.clip_gradient > 0:
        options["clip_gradient"] = how.clip_gradient
    accepted = inspect.signature(kind.__init__).parameters
    if "momentum" in accepted:
        options["momentum"] = how.momentum
    if "lazy_update" in accepted:
        # By default, MXNet does not apply momentum to rows without a sparse gradient, and warns about it.
        options["lazy_update"] = False
    devices = parameters[0].list_ctx()
    # Several devices exchange their gradients through a store; a single one needs none.
    store = None if len(devices) == 1 else "device"
    with optimizer_errors(how):
        return gluon.Trainer(parameters, how.optimizer, {**options, **how.optimizer_args}, kvstore=store)


@contextmanager
def optimizer_errors(how: Hyperparameters) -> Iterator[None]:
    """Turn an optimizer's exceptions into one line; some check their arguments only in the first step.

    Raises:
        SettingsError: the optimizer raised an exception.
    """
    try:
        yield
    except Exception as error:
        lines = str(error).strip().splitlines() or [type(error).__name__]
        raise SettingsError(
            f"OPTIMIZER={how.optimizer}, OPTIMIZER_ARGS={json.dumps(dict(how.optimizer_args))}: {lines[-1]};"
            " expected arguments of this optimizer of MXNet, and a model that it supports"
        ) from error
