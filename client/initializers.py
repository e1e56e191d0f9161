"""Initializers of parameters that have none of their own, and of those whose values a task has set."""

from client.mx import mx

_MATRIX_DIMENSIONS = 2
# Vectors of a symbol have no initializers of their own, only names.
_VECTORS = {
    "bias": 0,
    "beta": 0,
    "moving_mean": 0,
    "running_mean": 0,
    "gamma": 1,
    "moving_var": 1,
    "running_var": 1,
}


class Default(mx.init.Xavier):  # type: ignore[misc] # MXNet has no types
    """Draws matrices by Xavier, and sets vectors, which Xavier refuses, by the end of their names."""

    def _init_weight(self, name: str, array: mx.nd.NDArray) -> None:
        if array.ndim >= _MATRIX_DIMENSIONS:
            super()._init_weight(name, array)
            return
        known = [value for end, value in _VECTORS.items() if name.endswith(end)]
        # Uniform is what `net.initialize()` uses.
        initializer = mx.init.Constant(known[0]) if known else mx.init.Uniform()
        initializer._init_weight(name, array)  # noqa: SLF001 - as MXNet calls a parameter's own initializer


class Values(mx.init.Constant):  # type: ignore[misc] # MXNet has no types
    """Sets values that a task has set."""
