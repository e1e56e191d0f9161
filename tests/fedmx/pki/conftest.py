"""Fixtures: an authority that a test may change, and the clocks of a server that checks certificates."""

from pathlib import Path

import pytest

from fedmx.pki.authority import Authority
from tests.fedmx.pki.clocks import Clocks
from tests.fedmx.pki.papers import make_pki


@pytest.fixture
def changing(tmp_path: Path) -> Authority:
    """An authority that a test may change."""
    return make_pki(tmp_path / "pki", "north")


@pytest.fixture
def clocks() -> Clocks:
    return Clocks()
