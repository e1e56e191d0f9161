"""Two short rounds on a few examples: mistakes in a task's code are reported before the node joins a run."""

import contextlib
import random
import warnings
from collections.abc import Collection, Iterator

import numpy as np
from flwr.app import Array, ArrayRecord

from client import model, training
from client.data import Dataset
from client.model import Parameters
from client.mx import autograd, gluon, mx
from client.task import Task
from client.task_errors import task_errors
from client.training import DeviceData, check_metric_names
from fedmx import arrays
from fedmx.errors import SettingsError, TrainingFailedError
from fedmx.hyperparameters import Hyperparameters
from fedmx.log import warn

_EXAMPLES = 4
# Two batches of two, then one of three and one of one: the last batch of an epoch may have any size.
_BATCH_SIZES = (2, 3)


def check_parameters(task_name: str, net: gluon.Block) -> None:
    """Check that there is something to train, and that every array can be sent.

    Args:
        task_name: the task's name.
        net: the network, after its first forward pass.

    Raises:
        SettingsError: no parameter is trained, or one has no structural name or an unknown shape.
    """
    unnamed = model.find_unnamed(net)
    if unnamed:
        raise SettingsError(
            f"TASK={task_name}: parameters {', '.join(unnamed)} are not attributes of a block;"
            " expected self.<name> = self.params.get(...), which names them"
        )
    parameters = model.name_parameters(net)
    if not any(model.is_trained(parameter) for parameter in parameters.values()):
        raise SettingsError(
            f"TASK={task_name}: the network has {len(parameters)} parameters, none of which is trained;"
            " expected at least one of floats whose grad_req is not 'null'"
        )
    unknown = [name for name, parameter in parameters.items() if 0 in (parameter.shape or (0,))]
    if unknown:
        raise SettingsError(
            f"TASK={task_name}: no batch reached {', '.join(unknown)}, so their shapes are unknown;"
            " expected in_units, in_channels or the like in build_model(), or a network without these layers"
        )


def rehearse(
    net: gluon.Block,
    task: Task,
    parameters: Parameters,
    sets: tuple[Dataset, Dataset],
    metrics: Collection[str],
) -> None:
    """Run two short rounds as a node does: train two steps, evaluate, write arrays.

    A loss that is not finite is accepted here: a few examples prove nothing.

    Args:
        net: the network, initialized and hybridized; its arrays are restored at the end.
        task: the network's task.
        parameters: the network's parameters.
        sets: the training and the test set.
        metrics: the names of the metrics in the node's description.

    Raises:
        SettingsError: the task raised an exception, or the names of its metrics differ from `metrics`.
    """
    device = next(iter(parameters.values())).list_ctx()[0]
    train, test = (_choose(data, device) for data in sets)
    with _same_random_state(), device, task_errors(task.name, "training on a few examples"):
        start = model.read(parameters)
        unused = set(_find_unused(net, task, parameters, train))
        unmoved = {name for name, parameter in parameters.items() if model.is_trained(parameter)}
        for batch_size in _BATCH_SIZES:
            for measured in _run_round(net, task, (train, test), batch_size):
                check_metric_names(task.name, metrics, measured.keys() - {"num-examples"})
            unmoved &= _find_unmoved(parameters, start)
            model.write(parameters, start)
    _warn_of_untrained(parameters, unused, unmoved)


def _choose(data: Dataset, device: mx.Context) -> DeviceData:
    """Put a few examples on the device, spread over the set because it may be sorted by label."""
    chosen = np.linspace(0, len(data) - 1, _EXAMPLES).astype(np.int64)
    return DeviceData.put(data.examples, data.labels, device, chosen)


def _run_round(
    net: gluon.Block, task: Task, data: tuple[DeviceData, DeviceData], batch_size: int
) -> Iterator[dict[str, float]]:
    """Train, then evaluate, and yield the metrics of each step."""
    train, test = data
    how = Hyperparameters(1, batch_size, learning_rate=1e-3, momentum=0.9, proximal_mu=0.0)
    with contextlib.suppress(TrainingFailedError):
        yield training.train(net, task, train, how, [0])
    yield training.evaluate(net, task, test, batch_size)


def _find_unused(net: gluon.Block, task: Task, parameters: Parameters, data: DeviceData) -> list[str]:
    """Return the parameters on which the loss of a batch does not depend."""
    with autograd.record():
        # The first call builds the graph. MXNet then warns of unused parameters by its internal names.
        with warnings.catch_warnings(), task_errors(task.name, "the hybridized network"):
            warnings.filterwarnings("ignore", "Parameter .* is not used by any computation")
            outputs = net(data.examples)
        with task_errors(task.name, "the loss"):
            losses = task.loss(outputs, data.labels)
    losses.backward()
    trained = {name: parameter for name, parameter in parameters.items() if model.is_trained(parameter)}
    # MXNet marks the arrays whose gradients were computed, and has no public way to ask.
    return [name for name, parameter in trained.items() if not parameter.data()._fresh_grad]  # noqa: SLF001


def _find_unmoved(parameters: Parameters, start: ArrayRecord) -> set[str]:
    def is_unmoved(parameter: gluon.Parameter, before: Array) -> bool:
        return bool((parameter.data().asnumpy() == arrays.view(before)).all())

    return {name for name, parameter in parameters.items() if is_unmoved(parameter, start[name])}


def _warn_of_untrained(parameters: Parameters, unused: set[str], unmoved: set[str]) -> None:
    trained = {name for name, parameter in parameters.items() if model.is_trained(parameter)}
    if unmoved == trained:
        warn("no parameter is trained", reason="on a few examples, every gradient of the loss was zero")
        return
    # Some parameters may be used in some batches only.
    names = [name for name in parameters if name in unused & unmoved]
    if names:
        warn(
            "parameters are not trained",
            parameters=", ".join(names),
            reason="the loss does not depend on them",
        )


@contextlib.contextmanager
def _same_random_state() -> Iterator[None]:
    """Restore Python's random generator; those of MXNet and numpy are seeded with the initial arrays."""
    state = random.getstate()
    try:
        yield
    finally:
        random.setstate(state)
