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
# MXNet 1.9.1 takes `numpy.bool` at import, which numpy 1.24 removed.
np.bool = bool  # type: ignore[attr-defined]
driver = load_driver()

with _naming_what_is_missing():
    import mxnet as mx  # needs all of the lines above
    from mxnet import autograd, gluon

__all__ = ["autograd", "driver", "gluon", "mx"]
