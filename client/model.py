"""Converts between gluon parameters and named arrays, whose names and order are the same in every process.

MXNet numbers layers by a process-wide counter: the same network built twice has `dense0_weight` and then
`dense3_weight`. Structural names (`0.weight`), which `save_parameters` uses too, depend on the network alone.
Biases and running statistics have one as well.
"""

import fnmatch
import json
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from flwr.app import Array, ArrayRecord

from client.initializers import Default, Values
from client.mx import gluon, mx
from client.seeding import seed_all
from fedmx import arrays

Parameters = dict[str, gluon.Parameter]
# Of each parameter: its own initializer or None, and the one that the network uses for parameters without.
Given = dict[gluon.Parameter, tuple[Any, Any]]

_DEFAULT = Default()


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


def check_dense(net: gluon.Block) -> None:
    """Check that no parameter is sparse: MXNet returns their rows only through an optimizer's store.

    Raises:
        ValueError: a parameter is sparse.
    """
    # gluon has no public way to ask for a parameter's storage.
    sparse = [p.name for p in net.collect_params().values() if p._stype != "default"]  # noqa: SLF001
    if sparse:
        raise ValueError(
            f"parameters {', '.join(sparse)} are sparse; expected dense ones with sparse gradients, such as"
            " gluon.nn.Embedding(..., sparse_grad=True) instead of SparseEmbedding(...)"
        )


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


def have_values(parameters: Iterable[gluon.Parameter], given: Given) -> bool:
    """Whether the task has set the values of all parameters, so that none depends on the seed of a run."""
    return all(isinstance(given.get(parameter, (None,))[0], Values) for parameter in parameters)


def initialize(
    net: gluon.Block, seed: int, inputs: Sequence[mx.nd.NDArray], given: Given | None = None
) -> None:
    """Set a network's initial arrays, on the CPU, so that they do not depend on the device.

    Args:
        net: may have been initialized before.
        seed: of all parameters that are drawn.
        inputs: one batch of examples on the CPU, from which unknown shapes are inferred; empty if all are
            known.
        given: from `find_given`. Other parameters are drawn, by Xavier where their layer has no initializer;
            vectors by the end of their names.
    """
    _initialize_each(net, given or {})
    if inputs:
        net(*inputs)
    # The batch drew the arrays of unknown shape, after all others. Now that every shape is known, a second
    # draw is in the network's order, whether the network was initialized before or not.
    seed_all(seed)
    _initialize_each(net, given or {})
    mx.nd.waitall()


def has_unknown_shapes(net: gluon.Block) -> bool:
    """Whether a parameter's shape depends on examples that did not reach it yet."""
    return any(is_unknown(p) for p in net.collect_params().values())


def is_unknown(parameter: gluon.Parameter) -> bool:
    """Whether a parameter's shape is unknown in part: MXNet has 0 there, or -1 after `npx.set_np()`."""
    if mx.util.is_np_shape():
        return parameter.shape is None or min(parameter.shape, default=1) < 0
    return not parameter.shape or 0 in parameter.shape


def freeze(net: gluon.Block, parameters: Parameters, patterns: Iterable[str]) -> frozenset[str]:
    """Freeze the parameters whose structural name matches a pattern.

    A batch normalization whose statistics are frozen uses them in training as well, instead of the batch's.

    Args:
        net: the network.
        parameters: the network's.
        patterns: patterns of `fnmatch`, such as `features.*`.

    Returns:
        The names of the frozen parameters.

    Raises:
        ValueError: no name matches a pattern.
    """
    frozen: set[str] = set()
    for pattern in patterns:
        names = fnmatch.filter(parameters, pattern)
        if not names:
            example = next(iter(parameters), "features.*")
            raise ValueError(
                f"no parameter matches {pattern!r}; expected patterns of names such as {example!r}"
            )
        frozen.update(names)
    held = {id(parameters[name]) for name in frozen}
    for name in frozen:
        parameters[name].grad_req = "null"

    def fix_statistics(block: gluon.Block) -> None:
        if isinstance(block, gluon.nn.BatchNorm) and id(block.running_mean) in held:
            # gluon has no public way to change this after the layer was built.
            block._kwargs["use_global_stats"] = True  # noqa: SLF001

    net.apply(fix_statistics)
    return frozenset(frozen)


def find_dtype(parameter: gluon.Parameter) -> np.dtype[Any]:
    """Return a parameter's dtype. Custom cells may pass None, which means MXNet's default, not numpy's."""
    return np.dtype(mx.base.mx_real_t if parameter.dtype is None else parameter.dtype)


def is_trained(parameter: gluon.Parameter) -> bool:
    """Whether gradients change a parameter: running statistics and counters are not trained."""
    return parameter.grad_req != "null" and np.issubdtype(find_dtype(parameter), np.floating)


def read(parameters: Parameters) -> ArrayRecord:
    """Copy all parameters into a record, in order; of several devices, the first one's."""
    return arrays.make_record(
        {name: arrays.pack(p.list_data()[0].asnumpy()) for name, p in parameters.items()}
    )


def write(parameters: Parameters, record: Mapping[str, Array]) -> None:
    """Set all parameters from a record, on all of their devices.

    Raises:
        ValueError: names, shapes or dtypes differ from the model's.
    """
    check_names(parameters, record)
    # A computation that still runs may have oneDNN reorder its weights during the copy.
    mx.nd.waitall()
    for name, parameter in parameters.items():
        values = arrays.view(record[name])
        for target in parameter.list_data():
            if values.shape != target.shape or values.dtype != target.dtype:
                raise ValueError(
                    f"array {name!r} is {values.dtype} {values.shape};"
                    f" expected {np.dtype(target.dtype)} {target.shape}"
                )
            # oneDNN keeps some weights of an evaluated layer in an order of its own, such as a convolution's
            # for some numbers of channels, and MXNet refuses to copy into it. Filling them restores the usual
            # order.
            target[:] = 0
            target[:] = values


def describe(parameters: Parameters, frozen: Collection[str] = ()) -> list[str]:
    """Describe each array by a JSON list of name, dtype, shape, and trained, running or frozen."""

    def name_kind(name: str, parameter: gluon.Parameter) -> str:
        if name in frozen:
            return "frozen"
        return "trained" if is_trained(parameter) else "running"

    return [
        json.dumps([name, find_dtype(p).name, list(p.shape), name_kind(name, p)])
        for name, p in parameters.items()
    ]


def check_names(parameters: Parameters, record: Mapping[str, Array]) -> None:
    """Check that a record has exactly the arrays of a network.

    Raises:
        ValueError: some are missing or unknown.
    """
    expected = parameters.keys()
    found = record.keys()
    for problem, names in (("missing", expected - found), ("unknown", found - expected)):
        if names:
            raise ValueError(
                f"arrays {problem}: {', '.join(sorted(names))}; expected exactly the model's {len(expected)}"
            )


def _keep(values: mx.nd.NDArray) -> tuple[Any, Any]:
    return Values(values.copyto(mx.cpu())), _DEFAULT


def _initialize_each(net: gluon.Block, given: Given) -> None:
    for parameter in net.collect_params().values():
        own, default = given.get(parameter, (None, _DEFAULT))
        parameter.initialize(own, mx.cpu(), default, force_reinit=True)
