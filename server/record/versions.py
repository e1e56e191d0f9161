"""What a run depends on, with its versions."""

import platform
from functools import cache
from importlib import metadata

from fedmx import __version__


def versions() -> dict[str, str]:
    """Return the version of each package that the server's arithmetic or its messages depend on."""
    packages = {name: _read_version(name) for name in ("flwr", "numpy", "grpcio")}
    return {"fedmx": __version__, "python": platform.python_version(), **packages}


@cache
def _read_version(package: str) -> str:
    return metadata.version(package)
