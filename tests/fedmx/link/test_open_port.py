"""A port that anybody may connect to: what is of no use there costs nobody else anything."""

import io
from collections.abc import Callable, Iterator

import numpy as np
import pytest
from flwr.app import ConfigRecord, RecordDict

from fedmx.link import channel, roster
from fedmx.link import server as server_module
from fedmx.pki.authority import Authority
from fedmx.protocol import control
from fedmx.protocol import encode as codec
from fedmx.protocol import link_pb2 as pb
from fedmx.protocol.decode import Assembler
from tests.fedmx.link.crowd import Crowd
from tests.fedmx.link.loopback import Hub, RawNode
from tests.fedmx.link.wire import encode, pack
from tests.fedmx.pki.papers import credentials_of, make_pki, verifier_of

SITE = "north"
SILENT, DRIBBLING = 100, 10


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return make_pki(tmp_path_factory.mktemp("pki"), SITE)


@pytest.fixture
def gather() -> Iterator[Callable[..., Crowd]]:
    """Gathers crowds, which go at the end."""
    crowds: list[Crowd] = []

    def gather_one(*args: object, **kwargs: object) -> Crowd:
        crowds.append(Crowd(*args, **kwargs))  # type: ignore[arg-type]
        return crowds[-1]

    yield gather_one
    for crowd in crowds:
        crowd.go()


def test_a_federation_goes_on_and_nodes_join_while_a_crowd_stands_at_the_port(
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


def test_a_connection_that_says_nothing_is_closed_after_a_while(
    open_hub: Callable[..., Hub],
    authority: Authority,
    gather: Callable[..., Crowd],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(channel, "_IDLE_MS", 300)
    hub = open_hub(verifier=verifier_of(authority))
    crowd = gather(hub.address, 5, 0)
    hub.wait_until(lambda: crowd.ended >= 5)


def test_there_are_never_more_connections_than_files_for_them(
    open_hub: Callable[..., Hub], gather: Callable[..., Crowd], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(channel, "_MAX_CONNECTIONS", 20)
    monkeypatch.setattr(channel, "_IDLE_MS", 300)
    hub = open_hub()
    crowd = gather(hub.address, 50, 0)
    hub.wait_until(lambda: crowd.ended > 50)
    hub.start()  # as soon as those before it were closed
    assert len(hub.ask()) == 1


def count_greeting(hub: Hub) -> int:
    return sum(session.is_greeting for session in list(hub.server._sessions))


def assembler_of(hub: Hub) -> Assembler:
    """Return what puts together the frames of the one stream that there is."""
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
    waiting[0].hear_end()  # and no goodbye: it may be a node on a bad line, which dials again
    assert 'reason="no hello arrived, and newer streams need the room"' in log.getvalue()
    waiting[1].get_ready("second")
    assert len(hub.ask(hub.message(name="late"))) == 1
    for raw in waiting:
        raw.hang_up()


def test_there_is_a_most_of_nodes_and_who_is_there_stays(
    hub: Hub, log: io.StringIO, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(roster, "_MAX_PRESENT", 1)
    hub.start("first")
    raw = RawNode(hub.address)
    raw.say_hello("second")
    assert raw.hear("goodbye").reason == "1 nodes are connected, the most that this server accepts"
    assert "WARNING refused a node node=ipv4:127.0.0.1:" in log.getvalue()
    assert len(hub.ask(hub.message(name="first"))) == 1
    raw.hang_up()


def refuse(hub: Hub, act: Callable[[RawNode], None], *, is_ready: bool = True) -> str:
    """Have a raw node join and do something, and give the reason for which it is refused."""
    raw = RawNode(hub.address)
    if is_ready:
        raw.get_ready()
    else:
        raw.say_hello()
        raw.hear("welcome")
    act(raw)
    goodbye = raw.hear("goodbye")
    assert goodbye.outcome == pb.Goodbye.REFUSED
    raw.hang_up()
    reason: str = goodbye.reason
    return reason


def test_who_is_not_ready_answers_nothing(hub: Hub) -> None:
    reason = refuse(hub, lambda raw: raw.say(begin=pb.Begin(header_bytes=1)), is_ready=False)
    assert reason == "a reply from a node that is not ready"


def test_one_is_ready_once(hub: Hub) -> None:
    reason = refuse(hub, lambda raw: raw.say(control.build_ready(ConfigRecord())))
    assert reason == "unexpected frame ready from a joined node"


def test_only_what_was_asked_is_answered_and_what_was_owed_from_before(hub: Hub, log: io.StringIO) -> None:
    frames = list(encode(RecordDict({"metrics": ConfigRecord()}), request_id="old").frames())

    def answer_twice(raw: RawNode) -> None:
        for frame in 2 * frames:
            raw.say(frame)

    assert refuse(hub, answer_twice) == "a reply without a request"
    assert log.getvalue().count("dropped a reply that is no longer awaited") == 1


def test_a_description_beyond_the_limits_is_refused(hub: Hub) -> None:
    record = pb.Record(entries=[pb.Entry(key="\x1b", integer=1)])
    reason = refuse(hub, lambda raw: raw.say(ready=pb.Ready(description=record)), is_ready=False)
    assert reason.startswith("a description with the name '\\\\x1b'")


def test_what_differs_is_told_in_a_line_that_is_printable_and_bounded(
    open_hub: Callable[..., Hub], log: io.StringIO
) -> None:
    hub = open_hub(find_difference=lambda one, other: f"its task is {one['task']}" if one != other else None)
    hub.start("good", description=ConfigRecord({"task": "a"}))
    ready = control.build_ready(ConfigRecord({"task": "\n\x1b[2J" + "b" * 500_000}))
    reason = refuse(hub, lambda raw: raw.say(ready), is_ready=False)
    assert len(reason) == 400
    assert reason.startswith(r"node raw differs from this federation: its task is \n\x1b[2Jbbb")
    assert max(map(len, log.getvalue().splitlines())) < 500


def test_a_first_frame_as_large_as_a_message_is_refused_before_it_is_read(hub: Hub) -> None:
    raw = RawNode(hub.address)
    raw.say_hello("x" * 500_000)
    assert raw.hear("goodbye").reason.endswith(" bytes; expected at most 1024")
    raw.hang_up()


def test_a_node_that_nobody_asks_has_nothing_kept(hub: Hub) -> None:
    raw = RawNode(hub.address)
    raw.get_ready()
    *frames, _ = encode(RecordDict({"a": pack({"a": np.zeros(8_000_000, np.uint8)})})).frames()
    for frame in frames:
        raw.say(frame)
    (session,) = hub.server._sessions
    hub.wait_until(lambda: session._quota._bytes_up > 7_000_000)
    assembler = assembler_of(hub)
    assert assembler._body is None
    assert assembler._header is None
    raw.hang_up()


def test_half_a_reply_is_let_go_of_once_nobody_waits_for_it(hub: Hub) -> None:
    raw = RawNode(hub.address)
    raw.get_ready()
    hub.grid.push_messages([hub.message(name="raw")])
    ((_, request),) = hub.grid._open.values()
    raw.hear_header()
    content = RecordDict({"a": pack({"a": np.zeros(8_000_000, np.uint8)})})
    *frames, last = encode(content, request_id=request.request_id).frames()
    for frame in frames:
        raw.say(frame)
    assembler = assembler_of(hub)
    hub.wait_until(lambda: assembler._left < codec.CHUNK_BYTES and assembler._body is not None)
    hub.server.withdraw([request])
    raw.hear("withdraw")
    assert assembler._body is None
    raw.say(last)
    answered = hub.ask_aside(hub.message(name="raw", number=2))
    header = raw.hear_header()
    for frame in encode(RecordDict(), request_id=header.request_id).frames():
        raw.say(frame)
    assert len(answered.get()) == 1
    raw.hang_up()
