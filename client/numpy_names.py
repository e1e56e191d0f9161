"""Restores what MXNet 1.9.1 and packages of its time need of numpy: removed names, and how arrays print."""

from collections.abc import Callable
from typing import Any, Final

import numpy as np

# MXNet re-exports these functions, which numpy 1.20 removed, without calling them.
_FINANCIAL: Final = ("fv", "ipmt", "irr", "mirr", "nper", "npv", "pmt", "ppmt", "pv", "rate")


def restore_names() -> None:
    """Define the removed names in numpy, with the meaning that they had. Existing names stay as they are.

    Numbers are printed as numpy 1 prints them: MXNet passes shapes to its library as text, and numpy 2 would
    print the 8 of (4, 8) as np.int64(8).
    """
    np.set_printoptions(legacy="1.21")
    removed: dict[str, Any] = {
        # Aliases of Python's types: packages of MXNet's time use them, such as gluoncv's detectors.
        "bool": bool,
        "complex": complex,
        "float": float,
        "int": int,
        "long": int,
        "object": object,
        "str": str,
        "unicode": str,
        "float_": np.float64,
        "PZERO": 0.0,
        "NZERO": -0.0,
        "PINF": np.inf,
        "NINF": -np.inf,
        "Inf": np.inf,
        "Infinity": np.inf,
        "infty": np.inf,
        "NaN": np.nan,
        "NAN": np.nan,
        "alltrue": np.all,
        "sometrue": np.any,
        "product": np.prod,
        "cumproduct": np.cumprod,
        "row_stack": np.vstack,
        "round_": np.round,
        "trapz": getattr(np, "trapezoid", None),
        "in1d": _in1d,
        "msort": _msort,
        **{name: _build_missing(name) for name in _FINANCIAL},
    }
    for name, value in removed.items():
        # `hasattr` would ask numpy 1.26's module-level __getattr__, which warns about removed names.
        if name not in vars(np):
            setattr(np, name, value)


def _in1d(values: Any, accepted: Any, **options: Any) -> Any:
    return np.isin(np.ravel(values), accepted, **options)


def _msort(values: Any) -> Any:
    return np.sort(values, axis=0)


def _build_missing(name: str) -> Callable[..., None]:
    def call(*_: object, **__: object) -> None:
        raise NotImplementedError(
            f"numpy.{name}: numpy 1.20 removed the financial functions; use numpy-financial"
        )

    return call
