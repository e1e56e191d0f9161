"""A description of the machine, so that figures of two machines are not compared by mistake."""

import importlib.metadata
import os
import platform
from pathlib import Path

_PACKAGES = ("flwr", "grpcio", "protobuf", "numpy", "mxnet")


def describe_machine() -> dict[str, object]:
    """Return processor, cores, memory, load and versions, as JSON values."""
    return {
        "cpu": _read_field("/proc/cpuinfo", "model name"),
        "cores": len(os.sched_getaffinity(0)),
        "memory": _read_field("/proc/meminfo", "MemTotal"),
        "load_before": os.getloadavg()[0],
        "kernel": platform.release(),
        "python": platform.python_version(),
        "versions": {name: _find_version(name) for name in _PACKAGES},
    }


def _read_field(path: str, field: str) -> str:
    lines = Path(path).read_text().splitlines()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith(field)), "unknown")


def _find_version(name: str) -> str:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return "not installed"
