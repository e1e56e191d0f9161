"""What `docker compose config` resolves, and the variables of settings classes to compare with it."""

import dataclasses
import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.compose.conftest import find_fault
from tests.compose.stack import ROOT


def names_of(kind: type) -> set[str]:
    """Return the names of a settings class's variables."""
    return {field.name.upper() for field in dataclasses.fields(kind)}


def config(*options: str, folder: Path = ROOT, **variables: str) -> dict[str, Any]:
    """Return a compose file as `docker compose config` resolves it; skip the test without an engine."""
    if fault := find_fault():
        pytest.skip(fault)
    printed = subprocess.run(
        ["docker", "compose", *options, "config", "--format", "json"],
        cwd=folder,
        env={
            "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
            "HOME": "/root",
            **variables,
        },
        capture_output=True,
        text=True,
        check=True,
    )
    made: dict[str, Any] = json.loads(printed.stdout)
    return made
