"""What `docker compose config` makes of a compose file."""

import dataclasses
import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.compose.conftest import find_fault
from tests.compose.stack import ROOT


def names_of(kind: type) -> set[str]:
    return {field.name.upper() for field in dataclasses.fields(kind)}


def config(*options: str, folder: Path = ROOT, **variables: str) -> dict[str, Any]:
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
