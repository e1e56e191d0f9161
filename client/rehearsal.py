"""Two rounds on a few examples: what fails in a task's code is named before any server is asked."""

import contextlib
import random
import warnings
from collections.abc import Iterator

import numpy as np
from flwr.app import Array

from client import model, training
from client.data import Dataset
from client.model import Parameters
from client.mx import autograd, gluon, mx
from client.task import Task, task_errors
from client.training import DeviceData, Hyperparameters
from fedmx import arrays
from fedmx.errors import SettingsError, TrainingFailedError
from fedmx.log import warn

_BATCH_SIZE = 2
_EXAMPLES = 2 * _BATCH_SIZE
_HOW = Hyperparameters(
    local_epochs=1, batch_size=_BATCH_SIZE, learning_rate=1e-3, momentum=0.9, proximal_mu=0.0
)


def check_parameters(task_name: str, parameters: Parameters) -> None:
    """Check that there is something to train, and that every array can be sent.

    Args:
        task_name: the task's.
        parameters: of a network that has computed a batch.

    Raises:
        SettingsError: none is trained, or shapes are still unknown.
    """
    if not any(model.is_trained(parameter) for parameter in parameters.values()):
        raise SettingsError(
            f"TASK={task_name}: none of the network's {len(parameters)} parameters is trained;"
            " expected at least one of floats whose grad_req is not 'null'"
        )
    unknown = [name for name, parameter in parameters.items() if 0 in (parameter.shape or (0,))]
    if unknown:
        raise SettingsError(
            f"TASK={task_name}: no batch reached {', '.join(unknown)}, so that shapes are unknown; expected"
            " in_units, in_channels or the like in build_model(), or a network without these layers"
        )


def rehearse(net: gluon.Block, task: Task, parameters: Parameters, sets: tuple[Dataset, Dataset]) -> None:
    """Train two steps, evaluate and write arrays, twice, as a node does in its rounds.

    Losses that are not finite pass: a few examples are no proof.

    Args:
        net: initialized and hybridized; it ends with the arrays that it has.
        task: whose network it is.
        parameters: the network's.
        sets: the training and the test set.

    Raises:
        SettingsError: something in it raised.
    """
    device = next(iter(parameters.values())).list_ctx()[0]
    train, test = (_choose(data, device) for data in sets)
    with _keeping_random(), device, task_errors(task.name, "training on a few examples"):
        start = model.read(parameters)
        unused = _find_unused(net, task, parameters, train)
        for _ in range(2):
            with contextlib.suppress(TrainingFailedError):
                training.train(net, task, train, _HOW, [0])
            # Some may be used for some batches only.
            unused = [name for name in unused if _is_unmoved(parameters[name], start[name])]
            training.evaluate(net, task, test, _BATCH_SIZE)
            model.write(parameters, start)
    if unused:
        warn("the loss does not depend on parameters, which keep their values", parameters=", ".join(unused))


def _choose(data: Dataset, device: mx.Context) -> DeviceData:
    """Put a few examples on the device, from all over a set that may be sorted."""
    chosen = np.linspace(0, len(data) - 1, _EXAMPLES).astype(np.int64)
    return DeviceData.put(data.examples, data.labels, device, chosen)


def _find_unused(net: gluon.Block, task: Task, parameters: Parameters, data: DeviceData) -> list[str]:
    with autograd.record():
        # The first call makes the graph. What MXNet prints then has names that no one else knows.
        with warnings.catch_warnings(), task_errors(task.name, "the hybridized network"):
            warnings.filterwarnings("ignore", "Parameter .* is not used by any computation")
            outputs = net(data.examples)
        with task_errors(task.name, "the loss"):
            losses = task.loss(outputs, data.labels)
    losses.backward()
    trained = {name: parameter for name, parameter in parameters.items() if model.is_trained(parameter)}
    # MXNet marks the arrays whose gradients were computed, and has no public way to ask.
    return [name for name, parameter in trained.items() if not parameter.data()._fresh_grad]  # noqa: SLF001


def _is_unmoved(parameter: gluon.Parameter, before: Array) -> bool:
    return bool((parameter.data().asnumpy() == arrays.view(before)).all())


@contextlib.contextmanager
def _keeping_random() -> Iterator[None]:
    """Leave Python's generator as it was; MXNet's and numpy's are seeded with the initial arrays."""
    state = random.getstate()
    try:
        yield
    finally:
        random.setstate(state)
