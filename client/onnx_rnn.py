"""Corrects recurrent layers in a graph that MXNet's exporter to ONNX wrote.

MXNet 1.9.1 cuts the weights of two stacked layers out of one array, as if the inputs of the first layer were
as wide as its state. With another width, every cut behind the first one is at a wrong place.
"""

from typing import Any

# Ends the name of a constant that the exporter makes for two stacked layers only.
_STACKED = "_WR_shape"


class _Graph:
    """A graph's constants, and the node that computes each value."""

    def __init__(self, graph: Any) -> None:
        self.constants = {constant.name: constant for constant in graph.initializer}
        self.made_by = {name: node for node in graph.node for name in node.output}
        self._graph = graph

    def add(self, name: str, values: list[int]) -> str:
        """Add a constant, and return its name."""
        self._graph.initializer.append(_make(name, values))
        return name


def correct_stacks(graph: Any) -> None:
    """Cut the weights of stacked recurrent layers where they are."""
    known = _Graph(graph)
    for name in [name.removesuffix(_STACKED) for name in known.constants if name.endswith(_STACKED)]:
        _correct(known, name)


def _correct(graph: _Graph, name: str) -> None:
    state = _read(graph.constants[f"{name}{_STACKED}"])[2]
    joined = graph.made_by[graph.made_by[f"{name}_W0_1d"].input[0]]
    # Between the inputs and the first layer.
    rows, width = graph.constants[graph.made_by[joined.input[0]].input[0]].dims
    if width == state:
        return
    end = graph.add(f"{name}_W0_end", [rows * width])
    graph.made_by[f"{name}_W0"].input[1] = graph.add(f"{name}_W0_shape", [1, rows, width])
    graph.made_by[f"{name}_W0_1d"].input[2] = end
    graph.made_by[f"{name}_R0_offset"].input[0] = end
    graph.made_by[f"{name}_R0_1d"].input[1] = end
    # Three more arrays of weights lie before the biases.
    biases = f"{name}_WR_offset"
    graph.constants[biases].CopyFrom(_make(biases, [rows * (width + 3 * state)]))


def _make(name: str, values: list[int]) -> Any:
    from onnx import TensorProto  # noqa: PLC0415 - an optional dependency
    from onnx.helper import make_tensor  # noqa: PLC0415 - an optional dependency

    return make_tensor(name, TensorProto.INT64, [len(values)], values)


def _read(constant: Any) -> list[int]:
    from onnx.numpy_helper import to_array  # noqa: PLC0415 - an optional dependency

    values: list[int] = to_array(constant).tolist()
    return values
