"""What the rest of the program may know of a member."""

import math

import pytest
from flwr.app import ConfigRecord

from fedmx.link.member import NodeView


@pytest.mark.parametrize(("since", "is_expelled"), [(-math.inf, True), (0.0, False), (12.5, False)])
def test_a_node_that_is_no_longer_awaited_is_expelled(since: float, *, is_expelled: bool) -> None:
    assert NodeView("a", 1, is_present=False, description=None, since=since).is_expelled is is_expelled


@pytest.mark.parametrize(
    ("is_present", "description", "is_ready"),
    [(True, ConfigRecord(), True), (True, None, False), (False, ConfigRecord(), False)],
)
def test_a_node_is_ready_while_it_is_there_and_has_loaded_its_model(
    description: ConfigRecord | None, *, is_present: bool, is_ready: bool
) -> None:
    assert NodeView("a", 1, is_present, description, 0.0).is_ready is is_ready
