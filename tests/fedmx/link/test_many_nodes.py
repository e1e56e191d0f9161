"""As many nodes as a server accepts, each with a stream of its own."""

import resource
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from flwr.app import ConfigRecord, RecordDict

from fedmx.link.member import Member, NodeView
from fedmx.link.roster import MAX_PRESENT
from tests.bounds import HANG_S
from tests.fedmx.link.loopback import Hub
from tests.fedmx.link.test_roster import Rules, of
from tests.fedmx.protocol.wire import pack

ROOT = Path(__file__).parents[3]
# Each with half of the nodes.
_PROGRAMS = 2


@pytest.fixture
def crowded(hub: Hub) -> Iterator[Hub]:
    """A server with as many nodes as it accepts."""
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    if hard != resource.RLIM_INFINITY and hard < 2 * MAX_PRESENT:
        pytest.skip(f"the hard limit of open files is {hard}")
    count = MAX_PRESENT // _PROGRAMS
    command = [sys.executable, "-m", "tests.fedmx.link.many_nodes", str(hub.address.port)]
    programs = [
        subprocess.Popen([*command, str(count * number), str(count)], cwd=ROOT) for number in range(_PROGRAMS)
    ]
    try:
        hub.wait_until(lambda: sum(node.is_ready for node in hub.roster.nodes()) == MAX_PRESENT)
        yield hub
        hub.stop()
        assert [program.wait(HANG_S) for program in programs] == [0] * _PROGRAMS
    finally:
        for program in programs:
            program.kill()
            program.wait()


def test_a_thousand_nodes_join_and_answer(crowded: Hub) -> None:
    model = pack({"a": np.arange(3.0)})
    messages = [
        crowded.grid.create_message(
            RecordDict({"arrays": model, "config": ConfigRecord({"partition": number})}),
            "train",
            node.node_id,
            "1",
        )
        for number, node in enumerate(crowded.roster.nodes())
    ]
    replies = list(crowded.grid.send_and_receive(messages, timeout=HANG_S))
    assert len({reply.metadata.src_node_id for reply in replies}) == MAX_PRESENT
    assert not any(reply.has_error() for reply in replies)


def test_what_happens_for_one_node_does_not_depend_on_how_many_there_are(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    rules = Rules()
    seen: list[str] = []
    view = Member.view

    def count(member: Member) -> NodeView:
        seen.append(member.name)
        return view(member)

    monkeypatch.setattr(Member, "view", count)
    members = [rules.join(f"node-{number}", f"instance-{number}") for number in range(100)]
    for member in members:
        rules.roster.ready(member, of("mnist"))
        assert len(rules.roster.nodes()) == 100
        assert rules.roster.find(member.node_id) is member
    for member in members:
        rules.leave(member)
    assert len(seen) == 3 * 100, "one view for each change of a node"
