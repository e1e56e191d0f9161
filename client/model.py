"""Gluon parameters <-> named arrays, under names and in an order that do not depend on the process.

MXNet numbers layers by a process-wide counter (`dense0_weight`, then `dense3_weight` for the same network built
again). Structural names (`0.weight`) are what `save_parameters` uses; all parameters have one, biases and running
statistics too.
"""

import json
from collections.abc import Mapping

import numpy as np
from flwr.app import Array, ArrayRecord

from client.mx import gluon, mx
from fedmx import arrays

Parameters = dict[str, gluon.Parameter]


def name_parameters(net: gluon.HybridBlock) -> Parameters:
    """Give all parameters by structural name, in the network's order; a shared one once, by its first name."""
    named: Parameters = {}
    for name, parameter in net._collect_params_with_prefix().items():  # noqa: SLF001 - gluon has no public way
        if not any(parameter is known for known in named.values()):
            named[name] = parameter
    return named


def initialize(net: gluon.HybridBlock, seed: int, sample: np.ndarray) -> None:
    """Draw a network's initial arrays from a seed, on the CPU, so that every kind of device has the same.

    Args:
        net: may have been initialized before.
        seed: of MXNet's and numpy's generators, both used by initializers.
        sample: one batch of examples; shapes that the network leaves open are inferred from it.
    """
    mx.random.seed(seed)
    np.random.seed(seed % 2**32)  # noqa: NPY002 - MXNet's initializers draw from numpy's global generator
    net.initialize(mx.init.Xavier(), ctx=mx.cpu(), force_reinit=True)
    net(mx.nd.array(sample, ctx=mx.cpu()))
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
    if set(record) != set(parameters):
        odd = sorted(set(record) ^ set(parameters))
        raise ValueError(f"arrays and parameters differ in {', '.join(odd[:3])}")
    for name, parameter in parameters.items():
        values = arrays.view(record[name])
        target = parameter.data()
        if values.shape != target.shape or values.dtype != target.dtype:
            raise ValueError(
                f"array {name!r} is {values.dtype} {values.shape}, expected {target.dtype} {target.shape}"
            )
        target[:] = values


def describe(parameters: Parameters) -> list[str]:
    """Say what the arrays look like: a JSON list of name, dtype, shape and whether it is trained, for each."""
    return [
        json.dumps([name, np.dtype(p.dtype).name, list(p.shape), is_trained(p)])
        for name, p in parameters.items()
    ]
