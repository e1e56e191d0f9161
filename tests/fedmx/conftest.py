"""Quiet from Flower, and no clock for generated examples."""

import logging
from collections.abc import Iterator

import hypothesis
import pytest

from fedmx.log import logger

# Examples are not timed: another program on the machine must not fail a test.
hypothesis.settings.register_profile("untimed", deadline=None)
hypothesis.settings.load_profile("untimed")


@pytest.fixture(autouse=True)
def _quiet_flower() -> None:
    logging.getLogger("flwr").setLevel(logging.ERROR)


@pytest.fixture(autouse=True)
def _restored_log() -> Iterator[None]:
    """Undo what a test configures."""
    before = (list(logger.handlers), logger.level, logger.propagate)
    yield
    logger.handlers[:], logger.level, logger.propagate = before
