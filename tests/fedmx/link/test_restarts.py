"""A server that is started again: what its nodes still have, and what they do not begin."""

from collections.abc import Callable

from tests.fedmx.link.loopback import Hub, Node
from tests.fedmx.link.raw_node import RawNode


def test_a_restarted_server_is_answered_from_the_cache(open_hub: Callable[..., Hub]) -> None:
    hub = open_hub()
    node = hub.start()
    (reply,) = hub.ask()
    hub.stop(None)
    again = open_hub(port=hub.address.port)
    again.await_ready("node")
    assert [r.content for r in again.ask()] == [reply.content]
    assert node.worker.asked == ["1"]
    again.stop()
    assert node.join() is None


def test_a_restarted_server_that_first_queries_a_node_gets_the_update_that_it_lost(
    open_hub: Callable[..., Hub],
) -> None:
    hub = open_hub()
    node = hub.start()
    query, evaluate = (hub.message(number=n, step=s) for n, s in ((0, "query"), (1, "evaluate")))
    for message in (query, hub.message(number=1), evaluate):
        hub.ask(message)
    hub.stop(None)
    again = open_hub(port=hub.address.port)
    again.await_ready("node")
    for step, number in (("query", 0), ("train", 1), ("evaluate", 1)):
        assert len(again.ask(again.message(number=number, step=step))) == 1
    assert node.worker.asked == ["0", "1", "1", "0"], "only the query, which had made room for the update"


def test_a_node_that_trained_while_its_server_died_delivers_to_the_restarted_server(
    open_hub: Callable[..., Hub],
) -> None:
    hub = open_hub()
    node = hub.start()
    node.worker.gate.clear()
    assert hub.ask(hub.message(number=1), timeout=0.5) == []
    assert node.worker.begun.is_set()
    hub.stop(None)
    again = open_hub(port=hub.address.port)
    again.await_ready("node")
    query = again.ask_in_background(again.message(number=0, step="query"))
    again.wait_until(lambda: node.waiting == ["0"])
    node.worker.gate.set()
    assert len(query.get()) == 1
    assert len(again.ask(again.message(number=1))) == 1
    assert node.worker.asked == ["1", "0"]


def test_a_request_of_a_dead_server_that_the_restarted_one_does_not_repeat_is_not_begun(
    open_hub: Callable[..., Hub],
) -> None:
    hub = open_hub()
    cable = hub.lay_cable()
    node = hub.start(address=cable.address)
    node.worker.gate.clear()
    asked = hub.ask_in_background(hub.message(number=1), hub.message(number=2), timeout=1)
    hub.wait_until(lambda: node.waiting == ["2"])
    cable.loses_down = True
    # The withdrawal is lost, as is that of a server that dies.
    assert asked.get() == []
    cable.loses_down = False
    hub.stop(None)
    again = open_hub(port=hub.address.port)
    again.await_ready("node")
    asked = again.ask_in_background(again.message(number=3))
    again.wait_until(lambda: node.waiting == ["3"])
    node.worker.gate.set()
    assert len(asked.get()) == 1
    assert node.worker.asked == ["1", "3"]


def test_a_node_keeps_its_granted_name_when_the_server_is_restarted(
    open_hub: Callable[..., Hub],
) -> None:
    hub = open_hub()
    RawNode(hub.address).get_ready("host", is_name_given=False)
    hub.nodes.append(Node(hub.address, "host", is_name_given=False).serve())
    hub.await_ready("host-2")
    hub.stop(None)
    again = open_hub(port=hub.address.port)
    again.await_ready("host-2")
    assert [node.name for node in again.roster.nodes()] == ["host-2"]
