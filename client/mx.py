"""Imports MXNet 1.9.1 once, prepared for the Python and numpy of this machine.

`client` and every task import MXNet from here: `from client.mx import gluon, mx`.

One of two modules that act on import (the other is `fedmx` itself): the number of OMP threads and the CPU
instructions have to be fixed before MXNet's library is loaded, whichever engine imports the app first.
A task may fork after this: MXNet stops its threads before a fork and starts them again in both processes.
"""

import sys
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


@contextmanager
def _hiding(name: str) -> Iterator[None]:
    """Let imports of a module fail, unless it has been imported before."""
    if name in sys.modules:
        yield
        return
    # With None for a module, Python raises the error of one that is not installed.
    sys.modules[name] = None  # type: ignore[assignment]
    try:
        yield
    finally:
        del sys.modules[name]


set_omp_threads(load_settings().client_threads)
set_cpu_isa(load_settings().cpu_isa)
restore_names()
driver = load_driver()

# MXNet imports scipy.stats if it is installed, as it is where a server is, and hardly uses it. That takes
# two thirds of the time of MXNet's own import.
with _naming_missing_libraries(), _hiding("scipy.stats"):
    # All of the lines above must have run before MXNet's library is loaded.
    import mxnet as mx
    from mxnet import autograd, gluon

__all__ = ["autograd", "driver", "gluon", "mx"]
