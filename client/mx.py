"""Imports MXNet 1.9.1 once, with what it needs to start here. All of `client` takes it from this module.

One of two modules that act on import (the other is `fedmx` itself): the number of OMP threads has to be fixed
before MXNet's library is loaded, whichever engine imports the app first. Never fork after this:
MXNet's threads do not survive it.
"""

import numpy as np

from fedmx.settings import ClientSettings, load, set_omp_threads

set_omp_threads(load(ClientSettings).client_threads)
# MXNet 1.9.1 takes `numpy.bool` at import, which numpy 1.24 removed.
np.bool = bool  # type: ignore[attr-defined]

import mxnet as mx  # noqa: E402 - needs both lines above
from mxnet import autograd, gluon  # noqa: E402

__all__ = ["autograd", "gluon", "mx"]
