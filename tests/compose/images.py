"""Inspects images in fresh containers, which are as restricted as those of compose."""

import json
import re
import subprocess
from collections.abc import Sequence
from typing import Any

from packaging.requirements import Requirement

from tests.compose.stack import PATIENCE_S, ROOT

_AS_COMPOSE_DOES = ["--rm", "--read-only", "--tmpfs", "/tmp", "--cap-drop", "ALL", "--network", "none"]  # noqa: S108
# Also where NVIDIA's runtime is the engine's default.
_WITHOUT_CARDS = ["--env", "NVIDIA_VISIBLE_DEVICES=void"]
_LIST_VERSIONS = """
import importlib.metadata as metadata
for package in metadata.distributions():
    print(package.metadata["Name"].lower().replace("_", "-") + "==" + package.version)
"""
_LIST_UNMET = """
import importlib.metadata as metadata
from packaging.requirements import Requirement
for package in metadata.distributions():
    for text in package.requires or ():
        wanted = Requirement(text)
        if wanted.marker is None or wanted.marker.evaluate({"extra": ""}):
            if not wanted.specifier.contains(metadata.version(wanted.name), prereleases=True):
                print(package.metadata["Name"], "wants", text)
"""


def run_container(
    image: str, *command: str, options: Sequence[str] = ()
) -> "subprocess.CompletedProcess[str]":
    """Run a command, or the image's own, in a fresh container to its end."""
    return subprocess.run(
        ["docker", "run", *_AS_COMPOSE_DOES, *_WITHOUT_CARDS, *options, image, *command],
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=False,
    )


def run_in(image: str, *command: str) -> str:
    """Return the output of a command that has to succeed."""
    done = run_container(image, *command)
    done.check_returncode()
    return done.stdout


def inspect(image: str) -> dict[str, Any]:
    printed = subprocess.run(
        ["docker", "image", "inspect", image], capture_output=True, text=True, check=True
    )
    facts: dict[str, Any] = json.loads(printed.stdout)[0]
    return facts


_PYTHON_OF_IMAGES = {"python_version": "3.11", "python_full_version": "3.11.2"}


def read_lock(name: str) -> set[str]:
    """Return what a lock installs with the images' Python 3.11."""
    text = (ROOT / "requirements" / f"{name}.txt").read_text()
    found = set()
    for line in text.splitlines():
        if re.match(r"[a-z]", line):
            requirement = Requirement(line.rstrip("\\"))
            if requirement.marker is None or requirement.marker.evaluate(_PYTHON_OF_IMAGES):
                found.add(f"{requirement.name}{requirement.specifier}")
    return found


def list_packages(image: str) -> set[str]:
    return set(run_in(image, "python", "-c", _LIST_VERSIONS).split())


def list_unmet_requirements(image: str) -> list[str]:
    """List packages that require other versions than those installed, as `pip check` does."""
    return run_in(image, "python", "-c", _LIST_UNMET).splitlines()


def list_tools(image: str) -> str:
    """Return the paths of tools that build or download, and of files that package managers leave behind."""
    tools = ["pip", "pip3", "gcc", "cc", "make", "git", "curl", "uv"]
    script = "for tool; do if command -v $tool; then :; fi; done"
    found = run_in(image, "sh", "-c", script, "sh", *tools)
    return found + run_in(image, "find", "/var/lib/apt/lists", "/var/cache/apt", "-type", "f")
