"""Imports MXNet 1.9.1 once, prepared for the Python and numpy of this machine.

`client` and every task import MXNet from here: `from client.mx import gluon, mx`.

One of two modules that act on import (the other is `fedmx` itself): the number of OMP threads and the CPU
instructions have to be fixed before MXNet's library is loaded, whichever engine imports the app first.
A task may fork after this: MXNet stops its threads before a fork and starts them again in both processes.
"""

from collections.abc import Iterator
from contextlib import contextmanager

from client.cuda import load_driver
from client.numpy_names import restore_names
from client.settings import load_settings
from fedmx.errors import SettingsError
from fedmx.libraries import set_cpu_isa, set_omp_threads


@contextmanager
def _naming_missing_libraries() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise SettingsError(
            f"MXNet cannot be loaded: {error}; expected the libraries that its package is linked to:"
            " Dockerfile.client shows how to install them"
        ) from error


set_omp_threads(load_settings().client_threads)
set_cpu_isa(load_settings().cpu_isa)
restore_names()
driver = load_driver()

with _naming_missing_libraries():
    # All of the lines above must have run before MXNet's library is loaded.
    import mxnet as mx
    from mxnet import autograd, gluon

__all__ = ["autograd", "driver", "gluon", "mx"]
