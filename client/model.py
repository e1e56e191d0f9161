"""Converts between gluon parameters and named arrays, whose names and order are the same in every process.

MXNet numbers layers by a process-wide counter: the same network built twice has `dense0_weight` and then
`dense3_weight`. Structural names (`0.weight`), which `save_parameters` uses too, depend on the network alone.
Biases and running statistics have one as well.
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

Parameters = dict[str, gluon.Parameter]
# Of each parameter: its own initializer or None, and the one that the network uses for parameters without.
Given = dict[gluon.Parameter, tuple[Any, Any]]

_DEFAULT = mx.init.Xavier()


def name_parameters(net: gluon.Block) -> Parameters:
    """Return all parameters by structural name, in the network's order.

    A shared parameter appears once, by its first name. Those of `find_unnamed` are missing.
    """
    named: Parameters = {}
    known: set[int] = set()
    # gluon has no public way to list structural names.
    for name, parameter in net._collect_params_with_prefix().items():  # noqa: SLF001
        if id(parameter) not in known:
            named[name] = parameter
            known.add(id(parameter))
    return named


def find_unnamed(net: gluon.Block) -> list[str]:
    """Return the MXNet names of parameters without a structural name, which could never be sent."""
    known = {id(parameter) for parameter in name_parameters(net).values()}
    return [p.name for p in net.collect_params().values() if id(p) not in known]


def seed_generators(seed: int) -> None:
    """Seed the generators of initializers: MXNet's, and numpy's global one, which some draw from."""
    mx.random.seed(seed)
    np.random.seed(seed % 2**32)  # noqa: NPY002


def find_given(net: gluon.Block) -> Given:
    """Return what `build_model()` initialized: values, or initializers where shapes are still unknown."""
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
    """Set a network's initial arrays, on the CPU, so that they do not depend on the device.

    Args:
        net: may have been initialized before.
        seed: of all parameters that are drawn.
        sample: one batch of examples, from which unknown shapes are inferred.
        given: from `find_given`. Other parameters are drawn, by Xavier where their layer has no initializer.
    """
    _initialize_each(net, given or {})
    net(put(sample, mx.cpu()))
    # The batch drew the arrays of unknown shape, after all others. Now that every shape is known, a second
    # draw is in the network's order, whether the network was initialized before or not.
    seed_generators(seed)
    _initialize_each(net, given or {})
    mx.nd.waitall()


def is_trained(parameter: gluon.Parameter) -> bool:
    """Whether gradients change a parameter: running statistics and counters are not trained."""
    return parameter.grad_req != "null" and np.issubdtype(np.dtype(parameter.dtype), np.floating)


def read(parameters: Parameters) -> ArrayRecord:
    """Copy all parameters into a record, in order."""
    return ArrayRecord({name: arrays.pack(p.data().asnumpy()) for name, p in parameters.items()})


def write(parameters: Parameters, record: Mapping[str, Array]) -> None:
    """Set all parameters from a record.

    Raises:
        ValueError: names, shapes or dtypes differ from the model's.
    """
    _check_names(parameters, record)
    # A computation that still runs may have oneDNN reorder its weights during the copy.
    mx.nd.waitall()
    for name, parameter in parameters.items():
        values = arrays.view(record[name])
        target = parameter.data()
        if values.shape != target.shape or values.dtype != target.dtype:
            raise ValueError(
                f"array {name!r} is {values.dtype} {values.shape};"
                f" expected {np.dtype(target.dtype)} {target.shape}"
            )
        # oneDNN keeps some weights of an evaluated layer in an order of its own, such as a convolution's for
        # some numbers of channels, and MXNet refuses to copy into it. Filling them restores the usual order.
        target[:] = 0
        target[:] = values


def describe(parameters: Parameters) -> list[str]:
    """Describe each array by a JSON list of name, dtype, shape and whether it is trained."""
    return [
        json.dumps([name, np.dtype(p.dtype).name, list(p.shape), is_trained(p)])
        for name, p in parameters.items()
    ]


def _check_names(parameters: Parameters, record: Mapping[str, Array]) -> None:
    expected = parameters.keys()
    found = record.keys()
    for problem, names in (("missing", expected - found), ("unknown", found - expected)):
        if names:
            raise ValueError(
                f"arrays {problem}: {', '.join(sorted(names))}; expected exactly the model's {len(expected)}"
            )


def _keep(values: mx.nd.NDArray) -> tuple[Any, Any]:
    return mx.init.Constant(values.copyto(mx.cpu())), _DEFAULT


def _initialize_each(net: gluon.Block, given: Given) -> None:
    for parameter in net.collect_params().values():
        own, default = given.get(parameter, (None, _DEFAULT))
        parameter.initialize(own, mx.cpu(), default, force_reinit=True)
