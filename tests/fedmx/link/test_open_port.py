"""A port that anyone may connect to: useless connections do no harm to the others."""

import io
from collections.abc import Callable, Iterator

import numpy as np
import pytest
from flwr.app import ConfigRecord, RecordDict

from fedmx.link import channel, open_files, roster
from fedmx.link import server as server_module
from fedmx.pki.authority import Authority
from fedmx.protocol import control
from fedmx.protocol import encode as codec
from fedmx.protocol import link_pb2 as pb
from fedmx.protocol.decode import Assembler
from tests.fedmx.link.crowd import Crowd
from tests.fedmx.link.loopback import Hub
from tests.fedmx.link.raw_node import RawNode
from tests.fedmx.pki.papers import credentials_of, make_pki, verifier_of
from tests.fedmx.protocol.wire import encode, pack

SITE = "north"
SILENT = 100
DRIBBLING = 10


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return make_pki(tmp_path_factory.mktemp("pki"), SITE)


@pytest.fixture
def gather() -> Iterator[Callable[..., Crowd]]:
    """Opens crowds, and closes them at the end."""
    crowds: list[Crowd] = []

    def gather_one(*args: object, **kwargs: object) -> Crowd:
        crowds.append(Crowd(*args, **kwargs))  # type: ignore[arg-type]
        return crowds[-1]

    yield gather_one
    for crowd in crowds:
        crowd.close()


def test_a_federation_continues_and_nodes_join_while_useless_connections_crowd_the_port(
    open_hub: Callable[..., Hub], authority: Authority, gather: Callable[..., Crowd]
) -> None:
    own = credentials_of(authority, SITE)
    hub = open_hub(verifier=verifier_of(authority))
    hub.start(f"{SITE}.early", credentials=own)
    crowd = gather(hub.address, SILENT, DRIBBLING, own)
    hub.wait_until(lambda: (crowd.silent, crowd.welcomed) == (SILENT, DRIBBLING))
    hub.start(f"{SITE}.late", credentials=own)
    content = RecordDict({"arrays": pack({"a": np.arange(500_000.0)})})
    for number in range(3):
        names = [f"{SITE}.{name}" for name in ("early", "late")]
        replies = hub.ask(*(hub.message(content, name, number) for name in names))
        assert [reply.content for reply in replies] == [content, content]
    assert crowd.welcomed == DRIBBLING


def test_a_silent_connection_is_closed_after_a_while(
    open_hub: Callable[..., Hub],
    authority: Authority,
    gather: Callable[..., Crowd],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(channel, "_IDLE_MS", 300)
    hub = open_hub(verifier=verifier_of(authority))
    crowd = gather(hub.address, 5, 0)
    hub.wait_until(lambda: crowd.ended >= 5)


def test_connections_never_exhaust_the_limit_of_open_files(
    open_hub: Callable[..., Hub], gather: Callable[..., Crowd], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(open_files, "_MAX_CONNECTIONS", 20)
    monkeypatch.setattr(channel, "_IDLE_MS", 300)
    hub = open_hub()
    crowd = gather(hub.address, 50, 0)
    hub.wait_until(lambda: crowd.ended > 50)
    # It joins as soon as earlier connections were closed.
    hub.start()
    assert len(hub.ask()) == 1


def count_greeting(hub: Hub) -> int:
    return sum(session.is_greeting for session in list(hub.server._sessions))


def assembler_of(hub: Hub) -> Assembler:
    """Return the assembler of the only session."""
    (session,) = hub.server._sessions
    assert session._assembler is not None
    return session._assembler


def test_a_stream_without_a_hello_makes_room_for_newer_ones(
    hub: Hub, log: io.StringIO, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server_module, "_MAX_GREETING", 3)
    waiting = []
    for count in range(1, 4):
        waiting.append(RawNode(hub.address))
        hub.wait_until(lambda count=count: count_greeting(hub) == count)  # type: ignore[misc]
    hub.start("late")
    # It gets no goodbye: it may be a node on a bad line, which dials again.
    waiting[0].expect_end()
    assert 'reason="no hello arrived, and newer streams need the room"' in log.getvalue()
    waiting[1].get_ready("second")
    assert len(hub.ask(hub.message(name="late"))) == 1
    for raw in waiting:
        raw.hang_up()


def test_the_number_of_nodes_is_limited_and_present_nodes_stay(
    hub: Hub, log: io.StringIO, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(roster, "MAX_PRESENT", 1)
    hub.start("first")
    raw = RawNode(hub.address)
    raw.send_hello("second")
    assert raw.receive("goodbye").reason == "1 nodes are connected, the most that this server accepts"
    assert "WARNING refused a node node=ipv4:127.0.0.1:" in log.getvalue()
    assert len(hub.ask(hub.message(name="first"))) == 1
    raw.hang_up()


def refuse(hub: Hub, act: Callable[[RawNode], None], *, is_ready: bool = True) -> str:
    """Let a raw node join and act; return why it is refused."""
    raw = RawNode(hub.address)
    if is_ready:
        raw.get_ready()
    else:
        raw.send_hello()
        raw.receive("welcome")
    act(raw)
    goodbye = raw.receive("goodbye")
    assert goodbye.outcome == pb.Goodbye.REFUSED
    raw.hang_up()
    reason: str = goodbye.reason
    return reason


def test_a_node_that_is_not_ready_may_not_reply(hub: Hub) -> None:
    reason = refuse(hub, lambda raw: raw.send(begin=pb.Begin(header_bytes=1)), is_ready=False)
    assert reason == "a reply from a node that is not ready"


def test_a_node_reports_ready_only_once(hub: Hub) -> None:
    reason = refuse(hub, lambda raw: raw.send(control.build_ready(ConfigRecord())))
    assert reason == "unexpected frame ready from a joined node"


def test_a_node_may_send_one_reply_per_request_and_one_from_an_earlier_stream(
    hub: Hub, log: io.StringIO
) -> None:
    frames = list(encode(RecordDict({"metrics": ConfigRecord()}), request_id="old").frames())

    def answer_twice(raw: RawNode) -> None:
        for frame in 2 * frames:
            raw.send(frame)

    assert refuse(hub, answer_twice) == "a reply without a request"
    assert log.getvalue().count("dropped a reply that is no longer awaited") == 1


def test_a_description_beyond_the_limits_is_refused(hub: Hub) -> None:
    record = pb.Record(entries=[pb.Entry(key="\x1b", integer=1)])
    reason = refuse(hub, lambda raw: raw.send(ready=pb.Ready(description=record)), is_ready=False)
    assert reason.startswith("a description with the name '\\\\x1b'")


def test_a_difference_is_reported_in_a_line_that_is_printable_and_bounded(
    open_hub: Callable[..., Hub], log: io.StringIO
) -> None:
    hub = open_hub(find_difference=lambda one, other: f"its task is {one['task']}" if one != other else None)
    hub.start("good", description=ConfigRecord({"task": "a"}))
    ready = control.build_ready(ConfigRecord({"task": "\n\x1b[2J" + "b" * 500_000}))
    reason = refuse(hub, lambda raw: raw.send(ready), is_ready=False)
    assert len(reason) == 400
    assert reason.startswith(r"node raw differs from this federation: its task is \n\x1b[2Jbbb")
    assert max(map(len, log.getvalue().splitlines())) < 500


def test_an_oversized_first_frame_is_refused_before_it_is_parsed(hub: Hub) -> None:
    raw = RawNode(hub.address)
    raw.send_hello("x" * 500_000)
    assert raw.receive("goodbye").reason.endswith(" bytes; expected at most 1024")
    raw.hang_up()


def test_nothing_is_stored_of_a_reply_from_a_node_that_was_not_asked(hub: Hub) -> None:
    raw = RawNode(hub.address)
    raw.get_ready()
    *frames, _ = encode(RecordDict({"a": pack({"a": np.zeros(8_000_000, np.uint8)})})).frames()
    for frame in frames:
        raw.send(frame)
    (session,) = hub.server._sessions
    hub.wait_until(lambda: session._quota._bytes_up > 7_000_000)
    assembler = assembler_of(hub)
    assert assembler._body is None
    assert assembler._header is None
    raw.hang_up()


def test_half_a_reply_is_released_once_it_is_no_longer_awaited(hub: Hub) -> None:
    raw = RawNode(hub.address)
    raw.get_ready()
    hub.grid.push_messages([hub.message(name="raw")])
    ((_, request),) = hub.grid._open.values()
    raw.receive_header()
    content = RecordDict({"a": pack({"a": np.zeros(8_000_000, np.uint8)})})
    *frames, last = encode(content, request_id=request.request_id).frames()
    for frame in frames:
        raw.send(frame)
    assembler = assembler_of(hub)
    hub.wait_until(lambda: assembler._left < codec.CHUNK_BYTES and assembler._body is not None)
    hub.server.withdraw([request])
    raw.receive("withdraw")
    assert assembler._body is None
    raw.send(last)
    answered = hub.ask_in_background(hub.message(name="raw", number=2))
    header = raw.receive_header()
    for frame in encode(RecordDict(), request_id=header.request_id).frames():
        raw.send(frame)
    assert len(answered.get()) == 1
    raw.hang_up()
