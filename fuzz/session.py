"""Target: whole streams through the server's sessions, in one process and without sockets.

What arrives on a stream may end that stream, with a goodbye that a log can show. No other node is affected.
"""

# ruff: noqa: S101, SLF001 - assert is how a target states a claim; sessions have no public entry

import asyncio
import logging
import secrets
from collections.abc import Iterator
from itertools import chain
from typing import Any, cast

import grpc.aio
from cryptography import x509
from flwr.app import ConfigRecord, RecordDict

from fedmx import log
from fedmx.link.request import Request
from fedmx.link.roster import Roster
from fedmx.link.server import LinkServer
from fedmx.pki.access import PeerVerifier, Site
from fedmx.protocol import encode
from fedmx.protocol import link_pb2 as pb
from fedmx.values import Address
from fuzz.frames import MAX_MODEL_BYTES
from fuzz.script import Event, read_steps

RUN_ID = 7
_LONGEST_LINE = 2_000
_LONGEST_REASON = 400
# The honest node's token, which the fuzzer cannot guess.
_TOKEN = secrets.token_hex(16)
_ASK, _WITHDRAW, _HANG_UP = EVENTS = range(3)


class _Lines(logging.Handler):
    """Everything that is logged."""

    def __init__(self) -> None:
        super().__init__()
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        text = record.getMessage()
        self.lines.append(f"{text}\n{record.exc_info[1]!r}" if record.exc_info else text)


class _OpenVerifier(PeerVerifier):
    """Accepts every stream as one of the same site."""

    def __init__(self) -> None:
        """Needs no files."""

    def admit(self, pem: bytes) -> Site:
        """Return the site."""
        return Site("north", cast("x509.Certificate", pem))


class _Honest:
    """The stream of a node that works, and that nothing of this may reach."""

    is_ready = True

    def ask(self, _: Request) -> None:
        raise AssertionError("an honest node was asked for something")

    def withdraw(self, _: str) -> None:
        raise AssertionError("an honest node's request was withdrawn")

    def drop(self) -> None:
        raise AssertionError("an honest node's stream was dropped")


class _Context:
    """Stands in for gRPC's context of a stream; what arrives are the steps of a script."""

    def __init__(self, session: "_Session", steps: Iterator[bytes | Event]) -> None:
        self.written: list[bytes] = []
        self._session = session
        self._steps = steps

    def peer(self) -> str:
        return "ipv4:127.0.0.1:1"

    def auth_context(self) -> dict[str, tuple[bytes, ...]]:
        return {}

    async def read(self) -> Any:
        await asyncio.sleep(0)
        for step in self._steps:
            if not isinstance(step, Event):
                # gRPC ends a stream at a larger frame, too.
                return step if len(step) <= encode.FRAME_BYTES else grpc.aio.EOF
            if step.number % len(EVENTS) == _HANG_UP:
                break
            self._session.act(step.number % len(EVENTS))
            await asyncio.sleep(0)
        return grpc.aio.EOF

    async def write(self, data: bytes) -> None:
        await asyncio.sleep(0)
        self.written.append(data)


class _Session:
    """A server with an honest node that was sent a request, and streams that are opened in turn."""

    def __init__(self, *, is_secure: bool) -> None:
        verifier = _OpenVerifier() if is_secure else None
        self.roster = Roster(lambda _one, _other: None)
        self.server = LinkServer(
            Address("127.0.0.1", 1),
            self.roster,
            max_model_bytes=MAX_MODEL_BYTES,
            lease_grace_s=60.0,
            verifier=verifier,
        )
        self.honest, _ = self.roster.join("honest", _TOKEN, _Honest(), is_name_given=True)
        self.promise = make_request(self.honest.node_id)
        self.server._shared.requests.add(self.promise)
        self.requests: list[Request] = []

    def act(self, number: int) -> None:
        if number == _ASK:
            others = [node.node_id for node in self.roster.nodes() if node.node_id != self.honest.node_id]
            asked = [make_request(node_id) for node_id in others]
            self.requests += asked
            self.server._submit(asked)
        else:
            self.server._withdraw(self.requests)

    def serve(self, steps: Iterator[bytes | Event]) -> None:
        context = _Context(self, steps)
        join = self.server._join(cast("Any", None), cast("Any", context))
        self.server._loop.run_until_complete(join)
        for data in context.written:
            assert len(data) <= encode.FRAME_BYTES
            frame = encode.parse_frame(data)
            if frame.WhichOneof("kind") == "goodbye":
                assert data is context.written[-1]
                assert frame.goodbye.outcome == pb.Goodbye.REFUSED
                assert frame.goodbye.reason.isprintable()
                assert 0 < len(frame.goodbye.reason) <= _LONGEST_REASON

    def check(self) -> None:
        server = self.server
        assert not server._sessions
        assert not asyncio.all_tasks(server._loop)
        assert isinstance(self.honest.stream, _Honest)
        assert not self.promise.done.done()
        for node in self.roster.nodes():
            assert node.name.isprintable()
            assert len(node.name) < 3 * 64


def make_request(node_id: int) -> Request:
    """Return the request that every node is asked: the same bytes each time, so that seeds can answer it."""
    content = RecordDict({"config": ConfigRecord({"seed": 0})})
    header = pb.Header(message_type="train", group_id="1", run_id=RUN_ID)
    return Request(node_id, encode.encode(header, content, encode.NO_ARRAYS))


def run(data: bytes) -> None:
    """Serve a script's streams; its first byte decides whether the link has certificates."""
    lines = _Lines()
    loggers = (log.logger, logging.getLogger("asyncio"))
    for logger in loggers:
        logger.addHandler(lines)
    log.logger.setLevel(logging.INFO)
    session = _Session(is_secure=bool(data[:1] and data[0] & 1))
    try:
        steps = read_steps(data[1:])
        for first in steps:
            session.serve(chain([first], steps))
        session.check()
    finally:
        session.server._loop.close()
        for logger in loggers:
            logger.removeHandler(lines)
    for line in lines.lines:
        assert line.isprintable(), line
        assert len(line) < _LONGEST_LINE, line
        assert not line.startswith(("a bug", "Task")), line
