"""Two short rounds on a few examples: mistakes in a task's code are reported before the node joins a run."""

import contextlib
import warnings
from collections.abc import Collection, Iterator

import numpy as np
from flwr.app import Array, ArrayRecord

from client import model, training
from client.batches import Batches, DeviceData, read_batch
from client.context import Context
from client.data.lazy import AnyDataset
from client.metrics import COUNT, check_metric_names
from client.model import Parameters
from client.mx import autograd, gluon, mx
from client.network import Network
from client.task import Task
from client.task_errors import task_errors
from fedmx import arrays
from fedmx.errors import TrainingFailedError
from fedmx.hyperparameters import Hyperparameters
from fedmx.log import warn

_EXAMPLES = 4
# Two batches of two, then one of three and one of one: the last batch of an epoch may have any size.
_BATCH_SIZES = (2, 3)


def rehearse(
    network: Network,
    task: Task,
    sets: tuple[AnyDataset, AnyDataset],
    metrics: Collection[str],
) -> None:
    """Run two short rounds as a node does: train two steps, evaluate, write arrays.

    A loss that is not finite is accepted here: a few examples prove nothing. The task's own loops do not run:
    they may need more than a few examples.

    Args:
        network: its arrays are restored at the end.
        task: the network's task.
        sets: the training and the test set.
        metrics: the names of the built-in loop's metrics.

    Raises:
        SettingsError: the task raised an exception, or the names of its metrics differ from `metrics`.
    """
    devices = tuple(next(iter(network.parameters.values())).list_ctx())
    with devices[0], task_errors(task.name, "training on a few examples"):
        # Items that only the task's own loops read may not form a batch.
        own = (task.train, task.evaluate)
        train, test = (
            None if function else _choose(data, devices[0]) for data, function in zip(sets, own, strict=True)
        )
        start = model.read(network.parameters)
        unmoved = {name for name, parameter in network.parameters.items() if model.is_trained(parameter)}
        unused = set() if train is None else set(_find_unused(network, task, train))
        for batch_size in _BATCH_SIZES:
            how = Hyperparameters(1, batch_size, 1e-3, task_options=task.options)
            for measured in _run_round(network.net, task, (train, test), Context(how, 1, devices)):
                check_metric_names(task.name, metrics, measured.keys() - {COUNT})
            unmoved &= _find_unmoved(network.parameters, start)
            model.write(network.parameters, start)
    if task.train is None:
        _warn_of_untrained(network.parameters, unused, unmoved)


def _choose(data: AnyDataset, device: mx.Context) -> Batches:
    """Choose a few examples, spread over the set because it may be sorted by label."""
    chosen = np.linspace(0, len(data) - 1, _EXAMPLES).astype(np.int64)
    batch = read_batch(data, chosen, device)
    return DeviceData(batch.inputs, batch.labels)


def _run_round(
    net: gluon.Block, task: Task, data: tuple[Batches | None, Batches | None], context: Context
) -> Iterator[dict[str, float]]:
    """Train, then evaluate, by the built-in loop where there is data for it, and yield the metrics."""
    train, test = data
    if train is not None:
        with contextlib.suppress(TrainingFailedError):
            yield training.train(net, task, train, context, [0])
    if test is not None:
        yield training.evaluate(net, task, test, context)


def _find_unused(network: Network, task: Task, data: Batches) -> list[str]:
    """Return the parameters on which the loss of a batch does not depend."""
    (batch,) = data.batches(len(data))
    with autograd.record():
        # The first call builds the graph. MXNet then warns of unused parameters by its internal names.
        with warnings.catch_warnings(), task_errors(task.name, "the hybridized network"):
            warnings.filterwarnings("ignore", "Parameter .* is not used by any computation")
            outputs = network.net(*batch.inputs)
        with task_errors(task.name, "the loss"):
            losses = task.loss(outputs, batch.labels)
    losses.backward()
    trained = {name: p for name, p in network.parameters.items() if model.is_trained(p)}
    # MXNet marks the arrays whose gradients were computed, and has no public way to ask.
    return [name for name, parameter in trained.items() if not parameter.list_data()[0]._fresh_grad]  # noqa: SLF001


def _find_unmoved(parameters: Parameters, start: ArrayRecord) -> set[str]:
    def is_unmoved(parameter: gluon.Parameter, before: Array) -> bool:
        return bool((parameter.list_data()[0].asnumpy() == arrays.view(before)).all())

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
