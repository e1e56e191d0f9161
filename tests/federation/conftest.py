"""Federations of real processes, which end with their test."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.federation.chaos.reference import Reference
from tests.federation.chaos.stage import Stage
from tests.federation.programs import Federation
from tests.ports import find_free_port


@pytest.fixture
def federation(tmp_path: Path) -> Iterator[Federation]:
    """A federation; programs that still run after the test are killed."""
    made = Federation(tmp_path, find_free_port())
    yield made
    made.end()


@pytest.fixture
def cold_federation(tmp_path: Path) -> Iterator[Federation]:
    """A federation whose programs are started by their commands, with nothing imported before."""
    made = Federation(tmp_path, find_free_port(), is_forked=False)
    yield made
    made.end()


@pytest.fixture(scope="module")
def shared_federation(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Federation]:
    """A federation with one run for several tests."""
    made = Federation(tmp_path_factory.mktemp("federation"), find_free_port())
    yield made
    made.end()


@pytest.fixture
def stage(tmp_path: Path) -> Iterator[Stage]:
    """A federation with programs that faults can be injected into."""
    made = Stage(tmp_path, find_free_port())
    yield made
    made.end()


@pytest.fixture(scope="session")
def reference(tmp_path_factory: pytest.TempPathFactory) -> Reference:
    """The results of undisturbed runs."""
    make: Callable[[], Stage] = lambda: Stage(tmp_path_factory.mktemp("reference"), find_free_port())  # noqa: E731
    return Reference(make)
