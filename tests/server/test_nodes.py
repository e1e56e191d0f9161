"""Waiting for nodes of a grid."""

import re
import threading
import time
from collections.abc import Iterator

import numpy as np
import pytest
from flwr.app import ConfigRecord, RecordDict

from fedmx import log
from fedmx.errors import SettingsError, TooFewNodesError
from fedmx.link import watch
from fedmx.settings import ServerSettings
from fedmx.values import PartitionRule
from server.engine import adapt
from server.leases import Membership, Participant
from server.nodes import Nodes
from tests.bounds import HANG_S
from tests.fedmx.link.loopback import FOREVER_S, Hub
from tests.fedmx.link.raw_node import RawNode
from tests.fedmx.protocol.wire import pack
from tests.server.local_grid import LocalGrid
from tests.server.nodes import NullNode


def test_waiting_for_any_node_ends_with_the_timeout() -> None:
    grid = LocalGrid({})
    started = time.monotonic()
    Nodes(adapt(grid), ServerSettings()).await_any(1, 0.2)
    assert 0.2 <= time.monotonic() - started < HANG_S


def test_waiting_for_any_node_ends_when_it_comes() -> None:
    grid = LocalGrid({})
    timer = threading.Timer(0.1, grid.nodes.update, [{10: NullNode()}])
    timer.start()
    Nodes(adapt(grid), ServerSettings()).await_any(1, 30)
    assert 10 in grid.nodes
    timer.join()


@pytest.fixture(params=[FOREVER_S])
def hub(request: pytest.FixtureRequest) -> Iterator[Hub]:
    """A server with one node, which joins and reads what it is asked, and no more."""
    hub = Hub(lease_grace_s=request.param)
    yield hub
    hub.stop()


def explain(hub: Hub) -> str:
    """Return why there is no reply of the node."""
    settings = ServerSettings(round_timeout=12.0, lease_grace=3.0)
    return Nodes(hub.grid, settings).explain_missing([Participant(hub.node_id("raw"), "raw", 0)])["raw"]


def test_the_reason_for_a_node_that_is_present_is_the_timeout(hub: Hub) -> None:
    raw = RawNode(hub.address)
    raw.get_ready()
    assert hub.ask(hub.message(name="raw"), timeout=0.3) == []
    assert explain(hub) == "no reply within ROUND_TIMEOUT=12"
    raw.hang_up()


def test_the_reason_has_the_seconds_of_the_transfers_that_the_timeout_does_not_count(hub: Hub) -> None:
    raw = RawNode(hub.address, reads=False)
    raw.send_hello()
    raw.send(ready={})
    hub.await_ready("raw")
    content = RecordDict({"arrays": pack({"a": np.zeros(50_000_000, np.uint8)})})
    asked = hub.ask_in_background(hub.message(content, name="raw"), timeout=1.0)
    hub.wait_until(lambda: bool(hub.grid.deadlines))
    (began,) = hub.grid.deadlines.values()
    # As long as the request travels, the end of the wait moves.
    hub.wait_until(lambda: min(hub.grid.deadlines.values()) > began + 2)
    raw.read()
    assert asked.get() == []
    reason = r"no reply within ROUND_TIMEOUT=12, not counting (\d+) s of transfers"
    found = re.fullmatch(reason, explain(hub))
    assert found
    assert int(found[1]) >= 2
    raw.hang_up()


def test_the_reason_names_both_the_timeout_and_the_lost_connection(hub: Hub) -> None:
    raw = RawNode(hub.address)
    raw.get_ready()
    raw.hang_up()
    hub.wait_until(lambda: not hub.roster.nodes()[0].is_present)
    assert hub.ask(hub.message(name="raw"), timeout=0.3) == []
    assert "within ROUND_TIMEOUT=12, and it is not connected" in explain(hub)


@pytest.mark.parametrize("hub", [0.05], indirect=True)
def test_the_reason_for_a_node_that_is_no_longer_awaited_names_the_grace(hub: Hub) -> None:
    raw = RawNode(hub.address)
    raw.get_ready()
    raw.hang_up()
    hub.wait_until(lambda: not hub.roster.nodes()[0].is_present)
    assert hub.ask_in_background(hub.message(name="raw"), timeout=FOREVER_S).get() == []
    assert "LEASE_GRACE=3" in explain(hub)


def test_the_reason_for_an_expelled_node_is_its_site(hub: Hub) -> None:
    raw = RawNode(hub.address)
    raw.get_ready()
    raw.hang_up()
    hub.wait_until(lambda: not hub.roster.nodes()[0].is_present)
    member = hub.roster.find(hub.node_id("raw"))
    assert member is not None
    assert hub.roster.expel(member)
    assert explain(hub) == "its site's certificate was revoked or has expired"


def test_a_partition_without_a_node_is_a_warning_at_every_start(
    capsys: pytest.CaptureFixture[str],
) -> None:
    log.configure("WARNING", "text")
    for _ in range(2):
        nodes = Nodes(adapt(LocalGrid({2: NullNode(), 3: NullNode()})), ServerSettings())
        nodes.restore(Membership({"2": 0, "3": 1}, 3))
        nodes.participants()
        nodes.participants()
        lines = [line for line in capsys.readouterr().err.splitlines() if "partition=2 partitions=3" in line]
        assert len(lines) == 1


@pytest.mark.parametrize(("rule", "is_refused"), [("iid", True), ("none", False)])
def test_only_a_node_that_shares_a_dataset_needs_an_example_per_partition(
    hub: Hub, rule: str, *, is_refused: bool
) -> None:
    raw = RawNode(hub.address)
    raw.get_ready(description=ConfigRecord({"train-examples": 1, "test-examples": 9}))
    hub.wait_until(lambda: hub.roster.nodes()[0].is_ready)
    settings = ServerSettings(num_partitions=8, partition=PartitionRule(rule))
    with pytest.raises(SettingsError if is_refused else TooFewNodesError):
        Nodes(hub.grid, settings).await_start(0.0)
    raw.hang_up()


def test_the_reason_for_a_transfer_that_stalled_is_its_progress_and_the_setting(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(watch, "PERIOD_S", 0.1)
    hub = Hub(stall_timeout_s=0.5)
    raw = RawNode(hub.address, reads=False)
    raw.send_hello()
    raw.send(ready={})
    hub.await_ready("raw")
    content = RecordDict({"arrays": pack({"a": np.zeros(50_000_000, np.uint8)})})
    assert hub.ask(hub.message(content, name="raw")) == []
    reason = r"[\d.]+ MB of 50\.0 MB of the request had been sent, and nothing moved for .*=60"
    assert re.fullmatch(reason, explain(hub))
    raw.hang_up()
    hub.stop()
