"""The goodbye reaches a node behind what was already on its way, unless its line stalls or takes too long."""

import pytest

from fedmx.link import farewell
from tests.bounds import HANG_S
from tests.federation.chaos.cable import Cable
from tests.fedmx.link.loopback import FOREVER_S, Hub, Node, Worker, change
from tests.fedmx.link.test_withdrawals import PART, large, leave_out_slow

# Of a line that takes longer than GOODBYE_TIMEOUT_S for what is in the buffers.
BYTES_PER_S = 1_000_000


@pytest.fixture
def slow(hub: Hub, cable: Cable) -> Node:
    """A node whose line ends up full of a model that is no longer awaited."""
    hub.start("quick")
    return hub.start("slow", Worker(change), address=cable.address, wait_timeout_s=0.1)


def test_a_goodbye_arrives_behind_a_model_on_a_slow_line(hub: Hub, cable: Cable, slow: Node) -> None:
    cable.bytes_per_s = BYTES_PER_S
    leave_out_slow(hub, large())
    hub.stop()
    assert slow.join() is None


def test_a_line_that_stalls_does_not_hold_up_the_end(
    hub: Hub, cable: Cable, slow: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(farewell, "LIMIT_S", FOREVER_S)
    cable.after("down", PART, lambda: cable.stall(HANG_S))
    leave_out_slow(hub, large())
    hub.wait_until(lambda: cable.carried["down"] >= PART)
    carried = dict(cable.carried)
    hub.stop()
    assert cable.carried == carried
    cable.cut()
    cable.flow()
    slow.join()


def test_a_line_that_moves_for_too_long_is_given_up(
    hub: Hub, cable: Cable, slow: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(farewell, "LIMIT_S", 0.0)
    cable.bytes_per_s = BYTES_PER_S
    leave_out_slow(hub, large())
    hub.stop()
    carried = cable.carried["down"]
    # Here it may still arrive, since gRPC goes on in the test's process.
    slow.join()
    assert cable.carried["down"] > carried + 100_000
