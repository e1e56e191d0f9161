"""What Prometheus is told of sites."""

import math
import time

import pytest
from flwr.app import ConfigRecord

from fedmx.link.member import NodeView
from server.status.metrics import Metrics


def make_node(name: str, *, is_present: bool, since: float, ends: float = 5e9) -> NodeView:
    site = name.partition(".")[0]
    return NodeView(name, hash(name), is_present, ConfigRecord(), since, site, "cpu", ends)


def read(nodes: list[NodeView], epoch: float = 0.0) -> dict[str, float]:
    metrics = Metrics({})
    # What was there before is replaced.
    metrics.note_nodes([make_node("earlier.1", is_present=True, since=1.0)], epoch)
    metrics.note_nodes(nodes, epoch)
    lines = [line for line in metrics.to_text()[0].decode().splitlines() if line.startswith("fedmx_site")]
    return {name.removeprefix("fedmx_site_"): float(value) for name, value in map(str.split, lines)}


def test_a_site_is_up_as_long_as_one_of_its_nodes_is() -> None:
    nodes = [
        make_node("a.1", is_present=True, since=5.0),
        make_node("a.2", is_present=False, since=9.0),
        make_node("b.1", is_present=False, since=7.0),
        make_node("b.2", is_present=False, since=8.0),
    ]
    found = read(nodes, epoch=1000.0)
    assert (found['up{site="a"}'], found['up{site="b"}']) == (1, 0)
    assert found['last_seen_timestamp_seconds{site="a"}'] == pytest.approx(time.time(), abs=1000)
    assert found['last_seen_timestamp_seconds{site="b"}'] == 1008
    assert 'up{site="earlier"}' not in found


def test_a_site_that_left_for_good_or_has_no_certificate_is_none() -> None:
    stranger = NodeView("c", 1, is_present=True, description=None, since=1.0)
    assert read([make_node("a.1", is_present=False, since=-math.inf), stranger]) == {}


def test_the_first_certificate_of_a_site_to_expire_counts() -> None:
    nodes = [
        make_node("a.1", is_present=True, since=5.0, ends=3e9),
        make_node("a.2", is_present=True, since=5.0, ends=2e9),
        make_node("a.3", is_present=False, since=5.0, ends=1e9),
    ]
    assert read(nodes)['certificate_expiry_timestamp_seconds{site="a"}'] == 2e9
