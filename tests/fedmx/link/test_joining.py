"""Which nodes are welcomed, which are refused and why, and what each side logs."""

import io
import threading
from collections.abc import Callable

import numpy as np
import pytest
from flwr.app import ConfigRecord, RecordDict

from fedmx import __version__
from fedmx.errors import RefusedError, SettingsError
from fedmx.link import session
from fedmx.link.roster import Roster
from fedmx.link.server import LinkServer
from fedmx.protocol import control
from fedmx.protocol import link_pb2 as pb
from fedmx.values import Address
from tests.bounds import HANG_S
from tests.fedmx.link.loopback import Hub, Node
from tests.fedmx.link.raw_node import RawNode
from tests.fedmx.protocol.wire import encode, pack

REFUSED = pb.Goodbye.REFUSED


@pytest.fixture
def raw(hub: Hub) -> RawNode:
    return RawNode(hub.address)


def reason_of(raw: RawNode) -> str:
    """Return why a node is refused, after the end of its stream."""
    goodbye = raw.receive("goodbye")
    assert goodbye.outcome == REFUSED
    raw.expect_end()
    reason: str = goodbye.reason
    return reason


def test_a_node_is_welcomed_with_its_name_and_the_servers_limit(open_hub: Callable[..., Hub]) -> None:
    hub = open_hub(max_model_bytes=1234)
    raw = RawNode(hub.address)
    raw.send_hello("north")
    assert raw.receive("welcome") == pb.Welcome(
        name="north", node_id=2, max_model_bytes=1234, task_options="{}"
    )
    raw.hang_up()


def test_nodes_of_one_host_are_welcomed_under_different_names(hub: Hub, raw: RawNode) -> None:
    hub.start("host", is_name_given=False)
    raw.send_hello("host")
    assert raw.receive("welcome").name == "host-2"
    raw.hang_up()


@pytest.mark.parametrize("version", [0, control.PROTOCOL_VERSION + 1])
def test_another_protocol_version_is_refused_with_both_versions_named(
    version: int, hub: Hub, log: io.StringIO
) -> None:
    error = Node(hub.address, protocol_version=version, package_version="9.9.9").serve().join()
    reason = (
        f"client protocol version {version} (fedmx 9.9.9), server protocol version"
        f" {control.PROTOCOL_VERSION} (fedmx {__version__}): expected the same protocol version on both sides"
    )
    assert isinstance(error, RefusedError)
    assert error.exit_code == 5
    assert str(error) == f"the server refused this node: {reason}"
    assert f'reason="{reason}"' in log.getvalue()
    assert hub.roster.nodes() == []


def test_another_package_version_joins_and_is_logged(hub: Hub, log: io.StringIO) -> None:
    hub.start(package_version="9.9.9")
    assert len(hub.ask()) == 1
    assert "node joined node=node version=9.9.9" in log.getvalue()


def test_a_stream_without_a_hello_is_closed_without_a_goodbye(
    hub: Hub, log: io.StringIO, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(session, "_HELLO_TIMEOUT_S", 0.05)
    RawNode(hub.address).expect_end()
    assert 'reason="no hello within 0.05 s"' in log.getvalue()
    assert hub.roster.nodes() == []


@pytest.mark.parametrize(
    ("frame", "reason"),
    [
        (pb.Frame(ready=pb.Ready()), "the first frame is not a hello"),
        (pb.Frame(chunk=b"x"), "the first frame is not a hello"),
        (pb.Frame(), "a frame of unknown kind"),
    ],
    ids=["ready", "chunk", "empty"],
)
def test_a_stream_begins_with_a_hello(frame: pb.Frame, reason: str, raw: RawNode) -> None:
    raw.send(frame.SerializeToString())
    assert reason_of(raw) == reason


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"instance": ""}, "a hello without an instance token"),
        ({"instance": "x" * 65}, "a hello without an instance token"),
        ({"name": ""}, "node name '': expected at most 128 letters, digits, '.', '_' or '-'"),
        ({"name": "a\nb"}, r"node name 'a\\nb': expected at most 128 letters, digits, '.', '_' or '-'"),
    ],
)
def test_a_hello_needs_a_valid_name_and_an_instance_token(
    changes: dict[str, str], reason: str, hub: Hub, raw: RawNode
) -> None:
    raw.send_hello(**changes)
    assert reason_of(raw) == reason
    assert hub.roster.nodes() == []


def test_a_given_name_that_a_living_node_has_is_refused(hub: Hub) -> None:
    hub.start("north")
    error = Node(hub.address, "north").serve().join()
    assert isinstance(error, RefusedError)
    assert str(error) == (
        "the server refused this node: node north: a living node has this name;"
        " expected another NODE_NAME for each client"
    )
    assert len(hub.ask(hub.message(name="north"))) == 1


def test_a_node_that_differs_from_the_federation_is_refused_with_its_name(
    open_hub: Callable[..., Hub],
) -> None:
    hub = open_hub(find_difference=lambda one, other: None if one == other else "its task is another")
    hub.start("north", description=ConfigRecord({"task": "mnist"}))
    error = Node(hub.address, "south").serve(ConfigRecord({"task": "cifar"})).join()
    assert isinstance(error, RefusedError)
    assert str(error) == (
        "the server refused this node: node south differs from this federation: its task is another"
    )
    assert len(hub.ask(hub.message(name="north"))) == 1


@pytest.mark.parametrize("last", ["refusal", "stop"])
def test_a_goodbye_does_not_wait_for_frames_that_are_still_queued(
    last: str, open_hub: Callable[..., Hub], log: io.StringIO
) -> None:
    hub = open_hub(lease_grace_s=0)
    raw = RawNode(hub.address, reads=False)
    raw.send_hello("raw")
    raw.send(ready=pb.Ready())
    hub.await_ready("raw")
    content = RecordDict({"arrays": pack({"a": np.zeros(20_000_000, np.uint8)})})
    hub.grid.push_messages([hub.message(content, "raw")])
    ((_, request),) = hub.grid._open.values()
    hub.wait_until(lambda: request.bytes_down > 0)
    stopping = threading.Thread(target=hub.stop)
    if last == "refusal":
        raw.send(welcome=pb.Welcome())
        hub.wait_until(lambda: "refused a node" in log.getvalue())
    else:
        stopping.start()
        hub.wait_until(lambda: hub.server._is_stopping)
    raw.read()
    kinds = raw.receive_kinds()
    assert kinds[-1] == "goodbye"
    assert kinds.count("chunk") < 20
    if last == "stop":
        stopping.join()


OVER_LIMIT = pb.Begin(header_bytes=1, array_bytes=2**40)


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"\xff\xff\xff", "bytes that are not a Frame"),
        (pb.Frame(chunk=b"x").SerializeToString(), "a chunk outside a message"),
        (
            pb.Frame(welcome=pb.Welcome()).SerializeToString(),
            "unexpected frame welcome from a joined node",
        ),
        (
            pb.Frame(hello=pb.Hello()).SerializeToString(),
            "unexpected frame hello from a joined node",
        ),
        (
            pb.Frame(begin=OVER_LIMIT).SerializeToString(),
            f"arrays of {2**40} bytes; MAX_MODEL_BYTES={2**30} is the limit here",
        ),
        (b"x" * (1024 * 1024 + 1), None),
    ],
    ids=["garbage", "chunk", "welcome", "hello", "too large", "a frame of more than 1 MiB"],
)
def test_a_violation_of_the_protocol_ends_that_stream_and_no_other(
    data: bytes, reason: str | None, open_hub: Callable[..., Hub]
) -> None:
    hub = open_hub(lease_grace_s=0)
    hub.start("good")
    raw = RawNode(hub.address)
    raw.get_ready("bad")
    asked = hub.ask_in_background(hub.message(name="good"), hub.message(name="bad"))
    raw.receive_header()
    raw.send(data)
    if reason is None:
        raw.expect_end()
    else:
        assert reason_of(raw) == reason
    (reply,) = asked.get()
    assert reply.metadata.src_node_id == hub.node_id("good")
    hub.wait_until(lambda: [n.name for n in hub.roster.nodes() if n.is_present] == ["good"])
    assert len(hub.ask(hub.message(name="good", number=2))) == 1


def test_a_malformed_reply_ends_its_stream_and_a_valid_one_on_the_next_stream_is_accepted(
    hub: Hub, raw: RawNode
) -> None:
    raw.get_ready("north")
    asked = hub.ask_in_background(hub.message(name="north"))
    header = raw.receive_header()
    bad = pb.Header(request_id=header.request_id, array_records=[pb.ArrayRecord(name="r")] * 2)
    data = bad.SerializeToString()
    raw.send(begin=pb.Begin(header_bytes=len(data)))
    raw.send(chunk=data)
    assert reason_of(raw) == "two arrays or records with the same name"
    hub.start("north")
    assert len(asked.get()) == 1


def test_a_node_cannot_answer_for_another(hub: Hub, raw: RawNode) -> None:
    node = hub.start("good")
    node.worker.gate.clear()
    raw.get_ready("bad")
    asked = hub.ask_in_background(hub.message(name="good"))
    assert node.worker.begun.wait(HANG_S)
    ((_, request),) = hub.grid._open.values()
    for frame in encode(RecordDict({"forged": ConfigRecord()}), request_id=request.request_id).frames():
        raw.send(frame)
    raw.send(chunk=b"end")
    # So everything before it was read.
    assert reason_of(raw) == "a chunk outside a message"
    node.worker.gate.set()
    (reply,) = asked.get()
    assert "forged" not in reply.content


def test_a_port_in_use_is_named(hub: Hub) -> None:
    with pytest.raises(SettingsError) as caught:
        Hub(hub.address.port)
    assert str(caught.value) == (
        f"LISTEN_ADDRESS={hub.address}: Address already in use; expected a free address of this machine"
    )


@pytest.mark.parametrize(
    ("host", "cause"),
    [("192.0.2.1", "Cannot assign requested address"), ("no such host", "Name or service not known")],
)
def test_an_address_of_another_machine_is_named(host: str, cause: str) -> None:
    address = Address(host, 8080)
    server = LinkServer(address, Roster(lambda *_: None), max_model_bytes=1, lease_grace_s=1)
    with pytest.raises(SettingsError) as caught:
        server.start()
    assert not server._thread.is_alive()
    assert str(caught.value) == (
        f"LISTEN_ADDRESS={address}: {cause}; expected a free address of this machine"
    )


def test_a_description_too_large_for_a_frame_is_refused_before_it_is_sent(hub: Hub) -> None:
    node = Node(hub.address)
    # Once it has joined, the server's goodbye ends its thread.
    hub.wait_until(lambda: len(hub.roster.nodes()) == 1)
    error = node.serve(ConfigRecord({"arrays": ["x" * 100] * 11_000})).join()
    assert isinstance(error, SettingsError)
    assert str(error).startswith("the model's description has 11")
    assert str(error).endswith(" bytes; expected at most 1048576")


def test_the_device_of_a_node_is_known_until_another_process_takes_its_name(hub: Hub) -> None:
    for device in ("gpu(0)", ""):
        raw = RawNode(hub.address)
        raw.send_hello("north")
        raw.receive("welcome")
        raw.send(control.build_ready(ConfigRecord(), device))
        hub.await_ready("north")
        (node,) = hub.roster.nodes()
        assert (node.device, node.site) == (device, None)
        raw.hang_up()
        hub.await_gone("north")


def test_a_device_that_cannot_be_shown_is_refused(hub: Hub) -> None:
    raw = RawNode(hub.address)
    raw.send_hello("north")
    raw.receive("welcome")
    raw.send(ready=pb.Ready(device="\x1b[31m"))
    assert reason_of(raw) == r"device '\\x1b[31m': expected at most 64 printable characters"
