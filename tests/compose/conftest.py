"""Stacks of containers, each removed with its test.

Without an engine the tests are skipped, or fail where CI needs them.
"""

import itertools
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from fedmx import __version__
from tests.compose.stack import PATIENCE_S, PROGRAMS, PROJECT, ROOT, Stack, name_image, remove_images
from tests.compose.swarm import hold_swarm

_numbers = itertools.count(1)


def find_fault() -> str:
    """Return the reason why containers cannot be tested here, empty if they can."""
    for command in (["docker", "version"], ["docker", "compose", "version"], ["docker", "buildx", "version"]):
        try:
            subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE_S, check=True)
        except FileNotFoundError:
            return "`docker` is not installed"
        except subprocess.CalledProcessError as error:
            return f"`{' '.join(command)}` failed: {error.stderr.strip().splitlines()[-1]}"
    return ""


@pytest.fixture(scope="session")
def engine() -> None:
    """An engine that answers; with REQUIRE_ENGINE=1, the tests fail without one."""
    if fault := find_fault():
        if os.environ.get("REQUIRE_ENGINE") == "1":
            pytest.fail(fault)
        pytest.skip(fault)


@pytest.fixture(scope="session")
def images(engine: None) -> Iterator[None]:
    """The images, built from this tree under separate names; layers that exist are reused."""
    build_images()
    yield
    remove_images(PROJECT)


def build_images(*arguments: str) -> None:
    built = subprocess.run(
        ["docker", "compose", "-p", PROJECT, *(arguments or ["build"])],
        cwd=ROOT,
        env={**os.environ, "FEDMX_VERSION": __version__},
        capture_output=True,
        text=True,
        check=False,
    )
    assert built.returncode == 0, built.stdout + built.stderr


def make_stack(folder: Path) -> Stack:
    """Create a project, with tags of its own for the images that exist."""
    made = Stack(f"{PROJECT}-{next(_numbers)}", folder)
    for program in PROGRAMS:
        command = ["docker", "tag", name_image(program), name_image(program, made.name)]
        # The image with CUDA rarely exists.
        subprocess.run(command, capture_output=True, check=False)
    return made


@pytest.fixture
def stack(images: None, tmp_path: Path) -> Iterator[Stack]:
    """A project for one test."""
    made = make_stack(tmp_path)
    yield made
    made.end()


@pytest.fixture(scope="module")
def shared_stack(images: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """A project that several tests of a module share."""
    made = make_stack(tmp_path_factory.mktemp("stack"))
    yield made
    made.end()


@pytest.fixture(scope="module")
def swarm(engine: None) -> Iterator[None]:
    """A swarm whose only node is this engine, or the one that it manages already."""
    with hold_swarm():
        yield
