"""A federation of nodes that are functions; Flower logs nothing."""

import gc
import logging
from collections.abc import Iterator
from pathlib import Path

import hypothesis
import pytest

from fedmx.log import logger
from tests.server.federation import Federation

# Examples are not timed: another program on the machine must not fail a test.
hypothesis.settings.register_profile("untimed", deadline=None)
hypothesis.settings.load_profile("untimed")


@pytest.fixture(scope="session", autouse=True)
def _small_heap() -> Iterator[None]:
    """Flower collects garbage for every reply of some strategies: not among all that pytest has imported."""
    gc.collect()
    gc.freeze()
    yield
    gc.unfreeze()


@pytest.fixture(autouse=True)
def _logs_as_they_were() -> Iterator[None]:
    """Keep Flower quiet, and undo what a program under test makes of the log."""
    logging.getLogger("flwr").setLevel(logging.ERROR)
    before = logger.handlers[:], logger.level, logger.propagate
    yield
    logger.handlers[:], logger.level, logger.propagate = before


@pytest.fixture
def federation(tmp_path: Path) -> Federation:
    """A server and nodes on loopback; its nodes have ended when a run has."""
    return Federation(tmp_path)
