"""A disk that is full, for tests of what is written there."""

import resource
from collections.abc import Iterator

import pytest


@pytest.fixture
def _full_disk() -> Iterator[None]:
    """Have every file of this process end at 64 KiB, as a full disk would."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (65536, before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, before)
