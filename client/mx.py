"""Imports MXNet 1.9.1 once, with what it needs to start here. All of `client` takes it from this module.

One of two modules that act on import (the other is `fedmx` itself): the number of OMP threads and the CPU
instructions have to be fixed before MXNet's library is loaded, whichever engine imports the app first.
A task may fork after this: MXNet stops its threads before a fork and starts them again in both processes.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np

from client.cuda import load_driver
from client.settings import load_settings
from fedmx.errors import SettingsError
from fedmx.libraries import set_cpu_isa, set_omp_threads

# What MXNet 1.9.1 reads from numpy when it is imported, and what took its place: numpy 1.24 removed `bool`,
# which numpy 2 has again, and numpy 2 removed the others.
_REMOVED_FROM_NUMPY: dict[str, object] = {
    "bool": bool,
    "float_": np.float64,
    "Inf": np.inf,
    "Infinity": np.inf,
    "infty": np.inf,
    "PINF": np.inf,
    "NINF": -np.inf,
    "NaN": np.nan,
    "NAN": np.nan,
    "PZERO": 0.0,
    "NZERO": -0.0,
    "alltrue": np.all,
    "sometrue": np.any,
    "product": np.prod,
    "cumproduct": np.cumprod,
    "round_": np.round,
    "row_stack": np.vstack,
    "in1d": np.isin,
    "msort": np.sort,
}
# Functions that MXNet only wants to find under their names: it offers them to those who call it as numpy.
_NAMES_ALONE = ("trapz", "fv", "ipmt", "irr", "mirr", "nper", "npv", "pmt", "ppmt", "pv", "rate")


def _restore_names_of_numpy() -> None:
    """Put back what numpy removed and MXNet reads; numpy 1.26 lacks one of them, numpy 2 nearly all."""
    for name, value in _REMOVED_FROM_NUMPY.items():
        if name not in vars(np):
            setattr(np, name, value)
    if np.lib.NumpyVersion(np.__version__) >= "2.0.0":
        for name in _NAMES_ALONE:
            if name not in vars(np):
                setattr(np, name, _refuse)


def _refuse(*_: object, **__: object) -> None:
    raise NotImplementedError("this function was removed from numpy")


@contextmanager
def _naming_what_is_missing() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise SettingsError(
            f"MXNet cannot be loaded: {error}; expected the libraries that its package is linked to:"
            " Dockerfile.client shows how to install them"
        ) from error


set_omp_threads(load_settings().client_threads)
set_cpu_isa(load_settings().cpu_isa)
_restore_names_of_numpy()
driver = load_driver()

with _naming_what_is_missing():
    import mxnet as mx  # needs all of the lines above
    from mxnet import autograd, gluon

__all__ = ["autograd", "driver", "gluon", "mx"]
