"""A task's network: its initial arrays, the devices that they are on, and which of them are sent."""

from collections.abc import Callable, Mapping, Sequence

import numpy as np
from flwr.app import Array, ArrayRecord

from client import model
from client.batches import Batch
from client.mx import gluon, mx
from client.seeding import seed_all
from client.task import Task
from client.task_errors import task_errors
from fedmx import arrays
from fedmx.errors import SettingsError


class Network:
    """A network with structural names for its parameters.

    Args:
        task: builds the network.
        read_sample: reads some training examples to the CPU, from which unknown shapes are inferred. Not
            called if the task trains by its own function and all shapes are known.

    Attributes:
        net: initialized on the CPU; hybridized unless the task trains by its own function.
        parameters: by structural name, in the network's order.
        frozen: names of the parameters that are never trained.
        frozen_sha256: the digest of their initial arrays; empty if there are none, or if some depend on the
            seed of a run.

    Raises:
        SettingsError: the task's code raises an exception, or an array could not be sent or trained.
    """

    def __init__(self, task: Task, read_sample: Callable[[], Batch]) -> None:
        self._task_name = task.name
        # Seeding here makes build_model() draw the same arrays on all nodes, whatever load_data() drew.
        seed_all(0)
        self.net = task.build_model()
        _check_dense(task.name, self.net)
        # A network that its task trains by a function of its own need not be callable as a whole.
        is_called = task.train is None or model.has_unknown_shapes(self.net)
        self._inputs = _read_inputs(task, read_sample) if is_called else ()
        with task_errors(task.name, f"the network, {_describe(task, self._inputs)},", _suggest_shapes(task)):
            self._given = model.find_given(self.net)
            model.initialize(self.net, 0, self._inputs, self._given)
        self.parameters = model.name_parameters(self.net)
        try:
            self.frozen = model.freeze(self.net, self.parameters, task.frozen)
        except ValueError as error:
            raise SettingsError(f"TASK={task.name}: FROZEN: {error}") from None
        check_parameters(task.name, self.net)
        self._forms = {name: _find_form(parameter) for name, parameter in self.parameters.items()}
        self._frozen_arrays = self._read(self.frozen)
        is_fixed = model.have_values((self.parameters[name] for name in self.frozen), self._given)
        self.frozen_sha256 = arrays.sha256(self._frozen_arrays) if self.frozen and is_fixed else ""

    def hybridize(self) -> None:
        """Have the network run as a graph, whose memory is reserved once."""
        self.net.hybridize(static_alloc=True, static_shape=True)

    def place(self, devices: Sequence[mx.Context]) -> None:
        """Move all parameters to these devices; nothing happens for none."""
        if devices:
            self.net.collect_params().reset_ctx(list(devices))

    def initial_arrays(self, seed: int) -> ArrayRecord:
        """Return all arrays at the start of a run, and leave the network with them on the CPU."""
        model.initialize(self.net, seed, self._inputs, self._given)
        self._frozen_arrays = self._read(self.frozen)
        return model.read(self.parameters)

    def write(self, record: Mapping[str, Array]) -> None:
        """Set all arrays; frozen ones that are missing get their initial values.

        Raises:
            ValueError: names, shapes or dtypes differ from the model's.
        """
        model.write(self.parameters, {**self._frozen_arrays, **record})

    def read_trained(self) -> ArrayRecord:
        """Copy all arrays but the frozen ones, in order."""
        return self._read(self.parameters.keys() - self.frozen)

    @property
    def trained(self) -> frozenset[str]:
        """Names of the arrays that gradients change."""
        return frozenset(
            name
            for name, parameter in self.parameters.items()
            if model.is_trained(parameter) and name not in self.frozen
        )

    def check_kept(self, part: str) -> None:
        """Check that a task's own function kept the network's parameters: no others would be sent.

        Args:
            part: the function, such as `train()`.

        Raises:
            SettingsError: a parameter was replaced or removed, or has another dtype or shape.
        """
        found = model.name_parameters(self.net)
        for name, parameter in self.parameters.items():
            now = _find_form(parameter)
            change = "replaced" if found.get(name) is not parameter else ""
            if now != self._forms[name]:
                change = f"changed {self._forms[name]} to {now} in"
            if change:
                raise SettingsError(
                    f"TASK={self._task_name}: {part} {change} parameter {name!r}; expected the parameters"
                    " that build_model() made, with other values"
                )

    def _read(self, names: Sequence[str] | frozenset[str] | set[str]) -> ArrayRecord:
        return model.read({name: p for name, p in self.parameters.items() if name in names})


def check_parameters(task_name: str, net: gluon.Block) -> None:
    """Check that there is something to train, and that every array can be sent.

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
            " expected at least one of floats whose grad_req is not 'null', such as"
            " self.<name> = self.params.get(...)"
        )
    unknown = [name for name, parameter in parameters.items() if model.is_unknown(parameter)]
    if unknown:
        raise SettingsError(
            f"TASK={task_name}: no batch reached {', '.join(unknown)}, so their shapes are unknown;"
            " expected in_units, in_channels or the like in build_model(), or a network without these layers"
        )


def _find_form(parameter: gluon.Parameter) -> str:
    return f"{model.find_dtype(parameter)} {tuple(parameter.shape)}"


def _check_dense(task_name: str, net: gluon.Block) -> None:
    try:
        model.check_dense(net)
    except ValueError as error:
        raise SettingsError(f"TASK={task_name}: {error}") from None


def _read_inputs(task: Task, read_sample: Callable[[], Batch]) -> tuple[mx.nd.NDArray, ...]:
    with task_errors(task.name, f"reading examples{_explain_inference(task)}", _suggest_shapes(task)):
        return read_sample().inputs


def _describe(task: Task, inputs: Sequence[mx.nd.NDArray]) -> str:
    shapes = ", ".join(f"{np.dtype(array.dtype).name} {array.shape}" for array in inputs)
    return f"given examples of shape {shapes}{_explain_inference(task)}" if inputs else "when initialized"


def _explain_inference(task: Task) -> str:
    """Explain why a network that its task trains by a function of its own is called with examples at all."""
    return " to infer shapes that build_model() left unknown" if task.train else ""


def _suggest_shapes(task: Task) -> str:
    """Return what makes such a call unnecessary; empty if the task needs the call in any case."""
    if task.train is None:
        return ""
    return (
        "in_units, in_channels, input_size or the like of each layer in build_model(), or a network that is"
        " initialized and called there"
    )
