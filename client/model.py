"""Gluon parameters <-> named arrays, under names and in an order that do not depend on the process.

MXNet numbers layers by a process-wide counter (`dense0_weight`, then `dense3_weight` for the same network
built again). Structural names (`0.weight`) are what `save_parameters` uses; all parameters have one, biases
and running statistics too.
"""

import json
from collections.abc import Mapping
from typing import Any

import numpy as np
from flwr.app import Array, ArrayRecord
from numpy.typing import NDArray

from client.device import put
from client.mx import gluon, mx
from fedmx import arrays
from fedmx.errors import SettingsError

Parameters = dict[str, gluon.Parameter]
# A parameter's own initializer, or None, and the one for a network's parameters that have none of their own.
Given = dict[gluon.Parameter, tuple[Any, Any]]

_DEFAULT = mx.init.Xavier()


def name_parameters(net: gluon.Block) -> Parameters:
    """Give all parameters by structural name, in the network's order; a shared one once, by its first name.

    Raises:
        SettingsError: a parameter has no such name, so that it would never leave the node.
    """
    named: Parameters = {}
    known: set[int] = set()
    for name, parameter in net._collect_params_with_prefix().items():  # noqa: SLF001 - gluon has no public way
        if id(parameter) not in known:
            named[name] = parameter
            known.add(id(parameter))
    for parameter in net.collect_params().values():
        if id(parameter) not in known:
            raise SettingsError(
                f"TASK: parameter {parameter.name} of the model is no attribute of a block;"
                " expected self.<name> = self.params.get(...), which gives it a name of its own"
            )
    return named


def seed_generators(seed: int) -> None:
    """Seed what initializers draw with: MXNet's generators and numpy's global one."""
    mx.random.seed(seed)
    np.random.seed(seed % 2**32)  # noqa: NPY002 - MXNet's initializers draw from numpy's global generator


def find_given(net: gluon.Block) -> Given:
    """Return what `build_model()` initialized: its values, or its initializers where shapes are open."""
    given: Given = {}
    for parameter in net.collect_params().values():
        # Gluon has no public way to ask whether and how a parameter is initialized.
        if parameter._data is not None:  # noqa: SLF001
            given[parameter] = _keep(parameter.data(parameter.list_ctx()[0]))
        elif parameter._deferred_init:  # noqa: SLF001
            own, _, default, values = parameter._deferred_init  # noqa: SLF001
            given[parameter] = (own, default) if values is None else _keep(values)
    return given


def initialize(net: gluon.Block, seed: int, sample: NDArray[Any], given: Given | None = None) -> None:
    """Set a network's initial arrays, on the CPU, so that every kind of device has the same.

    Args:
        net: may have been initialized before.
        seed: of what is drawn.
        sample: one batch of examples; shapes that the network leaves open are inferred from it.
        given: of `find_given`; other parameters are drawn, by Xavier where their layer names no initializer.
    """
    _initialize_each(net, given or {})
    net(put(sample, mx.cpu()))
    # Arrays of open shapes were drawn where the batch met them, the others before. Drawn again, now that no
    # shape is open, the order is the network's, whether it was initialized before or not.
    seed_generators(seed)
    _initialize_each(net, given or {})
    mx.nd.waitall()


def is_trained(parameter: gluon.Parameter) -> bool:
    """Whether gradients change it: running statistics and counters are not trained."""
    return parameter.grad_req != "null" and np.issubdtype(np.dtype(parameter.dtype), np.floating)


def read(parameters: Parameters) -> ArrayRecord:
    """Copy all parameters into a record, in order."""
    return ArrayRecord({name: arrays.pack(p.data().asnumpy()) for name, p in parameters.items()})


def write(parameters: Parameters, record: Mapping[str, Array]) -> None:
    """Set all parameters from a record.

    Raises:
        ValueError: a name is missing or extra, or a shape or dtype is another.
    """
    expected, found = parameters.keys(), record.keys()
    for fault, names in (("missing", expected - found), ("unknown", found - expected)):
        if names:
            raise ValueError(
                f"arrays {fault}: {', '.join(sorted(names))}; expected exactly the model's {len(expected)}"
            )
    # What still runs may hand its weights to oneDNN, which would reorder them under the copy.
    mx.nd.waitall()
    for name, parameter in parameters.items():
        values = arrays.view(record[name])
        target = parameter.data()
        if values.shape != target.shape or values.dtype != target.dtype:
            raise ValueError(
                f"array {name!r} is {values.dtype} {values.shape};"
                f" expected {np.dtype(target.dtype)} {target.shape}"
            )
        # oneDNN keeps the weights of an evaluated layer in an order of its own (a convolution's, for some
        # numbers of channels), and MXNet refuses to copy into it. Filling them restores the usual order.
        target[:] = 0
        target[:] = values


def describe(parameters: Parameters) -> list[str]:
    """Say what each array looks like: a JSON list of name, dtype, shape and whether it is trained."""
    return [
        json.dumps([name, np.dtype(p.dtype).name, list(p.shape), is_trained(p)])
        for name, p in parameters.items()
    ]


def _keep(values: mx.nd.NDArray) -> tuple[Any, Any]:
    return mx.init.Constant(values.copyto(mx.cpu())), _DEFAULT


def _initialize_each(net: gluon.Block, given: Given) -> None:
    for parameter in net.collect_params().values():
        own, default = given.get(parameter, (None, _DEFAULT))
        parameter.initialize(own, mx.cpu(), default, force_reinit=True)
