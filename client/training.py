"""The built-in training and evaluation of one message; nothing remains for the next message."""

import math
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager
from typing import Any

from client.batches import Batch, Batches
from client.class_counter import ClassCounter
from client.context import Context
from client.metrics import COUNT, LOSS, Sums, average_each
from client.model import is_trained
from client.mx import autograd, gluon, mx
from client.optimizer import make_trainer, optimizer_errors
from client.proximal import ProximalTerm
from client.seeding import seed_call
from client.task import Task
from client.task_errors import task_errors
from client.task_functions import describe
from fedmx.errors import SettingsError, TrainingFailedError


def train(net: gluon.Block, task: Task, data: Batches, context: Context, seed: list[int]) -> dict[str, float]:
    """Train in place, with FedProx's proximal term (arXiv:1812.06127) if its weight is above 0.

    Args:
        net: initialized, on the context's devices.
        task: its loss is minimized; its metrics are measured on each batch before the step.
        data: the node's training data.
        context: the context of this round.
        seed: of shuffles and dropout, for this message alone.

    Returns:
        The means of loss and metrics over the last epoch, and `num-examples`, the examples of one epoch.

    Raises:
        TrainingFailedError: the loss is not finite.
        SettingsError: the task's network, loss or metrics raise or return a wrong type or shape.
    """
    rng = seed_call(seed)
    trained = [parameter for parameter in net.collect_params().values() if is_trained(parameter)]
    steps = _Steps(net, task, trained, context)
    means: dict[str, float] = {}
    for epoch in range(context.epochs):
        sums = Sums(task.name)
        for batch in _read(task, data.shuffled_batches(context.batch_size, rng)):
            steps.take(batch, sums, is_streamed=data.is_streamed)
        means = sums.read()
        if not math.isfinite(means[LOSS]):
            raise TrainingFailedError(
                f"the loss is {means[LOSS]} in epoch {epoch + 1} of {context.epochs}; expected"
                f" a finite number: LEARNING_RATE={context.learning_rate:g} is probably too high;"
                " otherwise look for log(0) and x/0 in the task's loss, and for large inputs (all are finite)"
            )
    return {**means, COUNT: len(data)}


def evaluate(
    net: gluon.Block, task: Task, data: Batches, context: Context, counter: ClassCounter | None = None
) -> dict[str, float]:
    """Evaluate a network on the first of the context's devices.

    Args:
        net: initialized, on the context's devices.
        task: its loss and metrics are measured.
        data: the node's test data.
        context: the context of this round.
        counter: counts the outputs by class; None if they are not classes.

    Returns:
        The means of loss and metrics over all of `data`, and `num-examples`.

    Raises:
        SettingsError: the task's network, loss or metrics raise or return a wrong type or shape.
    """
    sums = Sums(task.name)
    for batch in _read(task, data.batches(context.batch_size)):
        outputs, losses = _forward(net, task, batch)
        _measure(sums, task, outputs, batch.labels, losses)
        if counter is not None:
            counter.add(outputs, batch.labels)
        if data.is_streamed:
            losses.wait_to_read()
    return {**sums.read(), COUNT: len(data)}


def _read(task: Task, batches: Iterator[Batch]) -> Iterator[Batch]:
    """Read batches by the task's code: a dataset may be read lazily, and transformed at every access."""
    while True:
        with task_errors(task.name, "reading an example"):
            batch = next(batches, None)
        if batch is None:
            return
        yield batch


class _Steps:
    """Performs one step of the optimizer per batch.

    Args:
        net: the network.
        task: its loss is minimized.
        trained: the parameters that gradients change.
        context: the context of this round.
    """

    def __init__(
        self, net: gluon.Block, task: Task, trained: list[gluon.Parameter], context: Context
    ) -> None:
        self._net = net
        self._task = task
        self._trained = trained
        self._devices = context.devices
        self._how = context.hyperparameters
        self._proximal = ProximalTerm(trained, context.hyperparameters.proximal_mu)
        self._optimizer = _make_optimizer(net, task, trained, context)
        self._before: mx.nd.NDArray | None = None

    def _step_errors(self) -> AbstractContextManager[None]:
        if self._task.trainer is None:
            return optimizer_errors(self._how)
        return task_errors(self._task.name, "trainer()")

    def take(self, batch: Batch, sums: Sums, *, is_streamed: bool) -> None:
        """Train on a batch and measure it."""
        _clear_added(self._trained)
        parts = batch.split(self._devices)
        with autograd.record():
            results = [_forward(self._net, self._task, part) for part in parts]
        autograd.backward([losses for _, losses in results])
        self._proximal.add_gradients(len(batch))
        # A parameter on which this batch's loss does not depend has no new gradient and stays as it is.
        with self._step_errors():
            self._optimizer.step(len(batch), ignore_stale_grad=True)
        for part, (outputs, losses) in zip(parts, results, strict=True):
            _measure(sums, self._task, outputs, part.labels, losses)
        if is_streamed:
            # MXNet computes in the background: a loop that reads faster would fill the memory with batches.
            if self._before is not None:
                self._before.wait_to_read()
            self._before = results[-1][1]


def _make_optimizer(
    net: gluon.Block, task: Task, trained: list[gluon.Parameter], context: Context
) -> gluon.Trainer:
    if task.trainer is None:
        return make_trainer(trained, context.hyperparameters)
    with task_errors(task.name, "trainer()"):
        made = task.trainer(net, context)
    if not isinstance(made, gluon.Trainer):
        raise SettingsError(
            f"TASK={task.name}: trainer() returned {describe(made)}; expected a gluon Trainer"
        )
    return made


def _forward(net: gluon.Block, task: Task, batch: Batch) -> tuple[Any, mx.nd.NDArray]:
    """Return the outputs for a batch, and one loss per example."""
    with task_errors(task.name, "the network"):
        outputs = net(*batch.inputs)
    with task_errors(task.name, "the loss"):
        losses = task.loss(outputs, batch.labels)
        if not isinstance(losses, mx.nd.NDArray):
            raise SettingsError(
                f"TASK={task.name}: the loss returned {describe(losses)};"
                " expected an MXNet array with one value per example"
            )
        return outputs, average_each(task.name, LOSS, losses, len(batch))


def _measure(sums: Sums, task: Task, outputs: Any, labels: mx.nd.NDArray, losses: mx.nd.NDArray) -> None:
    """Add a batch's losses and metrics."""
    with task_errors(task.name, "metrics()"):
        metrics = task.metrics(outputs, labels)
        if not isinstance(metrics, Mapping):
            raise SettingsError(
                f"TASK={task.name}: metrics() returned {describe(metrics)}; expected a dict of values by name"
            )
        for name in (LOSS, COUNT):
            if name in metrics:
                raise SettingsError(
                    f"TASK={task.name}: metrics() returned {name!r}, which is always measured;"
                    " expected other names"
                )
        sums.add(losses, metrics)


def _clear_added(parameters: list[gluon.Parameter]) -> None:
    # gluon adds to gradients of this kind until they are cleared, and a step is one batch.
    for parameter in parameters:
        if parameter.grad_req == "add":
            parameter.zero_grad()
