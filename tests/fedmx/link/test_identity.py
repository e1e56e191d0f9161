"""One site cannot act as another: names and instance tokens belong to one site."""

import secrets
from collections.abc import Callable

import pytest

from fedmx.link import backoff
from fedmx.pki.authority import Authority
from fedmx.protocol import link_pb2 as pb
from tests.fedmx.link.loopback import Hub, Node, Worker
from tests.fedmx.pki.papers import SecureRawNode, credentials_of, make_pki, start_node, verifier_of
from tests.ports import find_free_port


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return make_pki(tmp_path_factory.mktemp("pki"), "a", "b", "a-x")


@pytest.fixture
def hub(open_hub: Callable[..., Hub], authority: Authority) -> Hub:
    return open_hub(verifier=verifier_of(authority))


class SiteNode:
    """A raw node of a site."""

    def __init__(self, hub: Hub, authority: Authority, site: str) -> None:
        self.raw = SecureRawNode(hub.address, credentials_of(authority, site))

    def join(self, name: str, token: str | None = None, **changes: bool) -> tuple[str, int]:
        """Send a hello; return the name and the node id that were granted."""
        self.raw.send_hello(name, instance=token or secrets.token_hex(16), **changes)
        welcome: pb.Welcome = self.raw.receive("welcome")
        return welcome.name, welcome.node_id


@pytest.fixture
def open_node(hub: Hub, authority: Authority) -> Callable[[str], SiteNode]:
    """Open a stream of a site."""
    return lambda site: SiteNode(hub, authority, site)


def test_nodes_of_two_sites_may_have_one_name_and_are_two_nodes(open_node: Callable[[str], SiteNode]) -> None:
    assert [open_node(site).join("x") for site in ("a", "b")] == [("a.x", 2), ("b.x", 3)]


@pytest.mark.parametrize("name", ["a.x", "x", "a", "b.a.x"])
def test_a_node_cannot_choose_a_name_of_another_site(name: str, open_node: Callable[[str], SiteNode]) -> None:
    assert open_node("a").join("x") == ("a.x", 2)
    granted, node_id = open_node("b").join(name, is_name_given=True)
    assert granted.startswith("b.")
    assert node_id == 3


def test_a_site_whose_name_is_a_prefix_of_anothers_is_a_different_site(
    open_node: Callable[[str], SiteNode],
) -> None:
    assert open_node("a-x").join("y") == ("a-x.y", 2)
    assert open_node("a").join("a-x.y") == ("a.a-x.y", 3)


def test_a_token_of_one_site_is_useless_to_another(hub: Hub, open_node: Callable[[str], SiteNode]) -> None:
    token = secrets.token_hex(16)
    owner = open_node("a")
    assert owner.join("x", token) == ("a.x", 2)
    thief = open_node("b")
    assert thief.join("a.x", token) == ("b.a.x", 3)
    assert hub.roster.nodes()[0].is_present, "nor is its stream replaced"
    again = open_node("a")
    assert again.join("x", token) == ("a.x", 2), "to its own site it is a node that comes back"
    owner.raw.expect_end()


def test_a_token_that_contains_a_sites_name_does_not_help(open_node: Callable[[str], SiteNode]) -> None:
    token = secrets.token_hex(16)
    assert open_node("a").join("x", f"x/{token}") == ("a.x", 2)
    assert open_node("a-x").join("x", token) == ("a-x.x", 3)
    assert open_node("b").join("x", f"a/x/{token}") == ("b.x", 4)


def test_a_name_that_is_held_for_a_node_is_not_given_to_another_site(
    hub: Hub, authority: Authority, open_node: Callable[[str], SiteNode]
) -> None:
    token = secrets.token_hex(16)
    gone = open_node("a")
    assert gone.join("x", token) == ("a.x", 2)
    gone.raw.hang_up()
    hub.wait_until(lambda: not hub.roster.nodes()[0].is_present)
    for name, stolen in (("a.x", token), ("x", token), ("a.x", f"a/{token}")):
        assert open_node("b").join(name, stolen)[0].startswith("b.")
    assert not hub.roster.nodes()[0].is_present
    assert open_node("a").join("x", token) == ("a.x", 2)


def test_a_request_to_a_node_is_not_answered_by_another_site(hub: Hub, authority: Authority) -> None:
    worker = Worker()
    other = Worker()
    start_node(hub, credentials_of(authority, "a"), "x", worker)
    start_node(hub, credentials_of(authority, "b"), "x", other)
    assert len(hub.ask(hub.message(name="a.x"))) == 1
    assert (len(worker.asked), other.asked) == (1, [])


def test_a_name_that_a_living_node_of_the_site_has_is_refused_with_its_full_name(
    hub: Hub, authority: Authority
) -> None:
    own = credentials_of(authority, "a")
    start_node(hub, own, "x")
    error = Node(hub.address, "x", credentials=own).serve().join()
    assert str(error) == (
        "the server refused this node: node a.x: a living node has this name;"
        " expected another NODE_NAME for each client"
    )


def test_clients_of_one_machine_keep_their_granted_names_when_the_server_is_restarted(
    open_hub: Callable[..., Hub], authority: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(backoff, "_LONGEST_PAUSE_S", 0.2)
    verifier = verifier_of(authority)
    port = find_free_port()
    own = credentials_of(authority, "a")
    first = open_hub(port=port, verifier=verifier)
    nodes = [start_node(first, own, "host", is_name_given=False)]
    nodes.append(Node(first.address, "host", is_name_given=False, credentials=own).serve())
    first.await_ready("a.host-2")
    first.stop(None)
    second = open_hub(port=port, verifier=verifier)
    second.nodes += nodes
    for name in ("a.host", "a.host-2"):
        second.await_ready(name)
    assert [node._link._hello.name for node in nodes] == ["a.host", "a.host-2"]
    for node, name in zip(nodes, ("a.host", "a.host-2"), strict=True):
        assert len(second.ask(second.message(name=name))) == 1
        assert len(node.worker.asked) == 1, "each is asked under its own name"
