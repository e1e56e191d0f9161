"""What a run depends on, with its versions."""

import platform
from importlib import metadata

from fedmx import __version__


def versions() -> dict[str, str]:
    """Return the version of each package that the server's arithmetic or its messages depend on."""
    packages = {name: metadata.version(name) for name in ("flwr", "numpy", "grpcio")}
    return {"fedmx": __version__, "python": platform.python_version(), **packages}
