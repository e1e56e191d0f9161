"""Useless connections: some stay silent, others send a valid hello and then a byte per second.

The latter speak HTTP/2 by themselves, since gRPC sends no half messages.
"""

import asyncio
import contextlib
import ssl
import struct
import threading
from collections.abc import Callable, Coroutine
from typing import Any

from fedmx.link import channel
from fedmx.pki.credentials import Credentials
from fedmx.protocol import control
from fedmx.protocol import link_pb2 as pb
from fedmx.protocol.control import Hello
from fedmx.values import Address

_PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
# Frame types and flags: RFC 9113, section 6.
_DATA = 0
_HEADERS = 1
_SETTINGS = 4
_PING = 6
_ACK = 1
_END_HEADERS = 4
_STREAM = 1
# gRPC: whether a message is compressed, and its length.
_MESSAGE_HEAD = struct.Struct(">BI")
_PAUSE_S = 0.1


class Crowd:
    """Connections that are made again where the server ends them, until the crowd goes.

    Attributes:
        silent: connections that stay silent, and are up.
        welcomed: streams whose node was welcomed, and are up.
        ended: connections that the server has ended so far.
    """

    def __init__(
        self, address: Address, silent: int, dribbling: int, credentials: Credentials | None = None
    ) -> None:
        self.silent = self.welcomed = self.ended = 0
        self._address = address
        self._tls = None if credentials is None else _make_tls(credentials)
        self._loop = asyncio.new_event_loop()
        self._all = self._loop.create_task(self._keep_up(silent, dribbling))
        self._thread = threading.Thread(target=self._run, name="crowd", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Close all connections."""
        self._loop.call_soon_threadsafe(self._all.cancel)
        self._thread.join()

    def _run(self) -> None:
        with contextlib.suppress(asyncio.CancelledError):
            self._loop.run_until_complete(self._all)
        # The sockets are closed by then.
        self._loop.run_until_complete(asyncio.sleep(_PAUSE_S))
        self._loop.close()

    async def _keep_up(self, silent: int, dribbling: int) -> None:
        await asyncio.gather(
            *(self._repeat(self._stay_silent) for _ in range(silent)),
            *(self._repeat(self._dribble) for _ in range(dribbling)),
        )

    async def _repeat(self, spend: Callable[[], Coroutine[Any, Any, None]]) -> None:
        while True:
            with contextlib.suppress(OSError, asyncio.IncompleteReadError):
                await spend()
            self.ended += 1
            await asyncio.sleep(_PAUSE_S)

    async def _stay_silent(self) -> None:
        reader, writer = await asyncio.open_connection(self._address.host, self._address.port)
        self.silent += 1
        try:
            while await reader.read(1024):
                pass
        finally:
            self.silent -= 1
            writer.transport.abort()

    async def _dribble(self) -> None:
        reader, writer = await asyncio.open_connection(self._address.host, self._address.port, ssl=self._tls)
        writing = None
        welcomed = 0
        try:
            writer.write(_PREFACE + _frame(_SETTINGS) + self._call() + _hello())
            while True:
                head = await reader.readexactly(9)
                payload = await reader.readexactly(int.from_bytes(head[:3], "big"))
                kind = head[3]
                flags = head[4]
                if kind in (_SETTINGS, _PING) and not flags & _ACK:
                    writer.write(_frame(kind, payload if kind == _PING else b"", _ACK))
                elif kind == _DATA and writing is None:
                    assert pb.Frame.FromString(payload[_MESSAGE_HEAD.size :]).HasField("welcome")
                    welcomed = 1
                    self.welcomed += 1
                    writing = asyncio.create_task(_write_slowly(writer))
        finally:
            self.welcomed -= welcomed
            if writing is not None:
                writing.cancel()
            writer.transport.abort()

    def _call(self) -> bytes:
        fields = {
            ":method": "POST",
            ":scheme": "http" if self._tls is None else "https",
            ":path": channel.METHOD,
            ":authority": str(self._address),
            "te": "trailers",
            "content-type": "application/grpc",
        }
        # RFC 7541, section 6.2.2: literal fields without indexing; none is longer than 126 bytes.
        block = b"".join(b"\0" + _text(name) + _text(value) for name, value in fields.items())
        return _frame(_HEADERS, block, _END_HEADERS)


async def _write_slowly(writer: asyncio.StreamWriter) -> None:
    """Write a message at one byte per second."""
    for byte in _MESSAGE_HEAD.pack(0, 1_000_000) + bytes(1_000_000):
        writer.write(_frame(_DATA, bytes([byte])))
        await asyncio.sleep(1)


def _hello() -> bytes:
    data = control.build_hello(Hello("idler", is_name_given=False, max_model_bytes=2**30))
    return _frame(_DATA, _MESSAGE_HEAD.pack(0, len(data)) + data)


def _text(text: str) -> bytes:
    return bytes([len(text)]) + text.encode()


def _frame(kind: int, payload: bytes = b"", flags: int = 0) -> bytes:
    stream = 0 if kind in (_SETTINGS, _PING) else _STREAM
    return len(payload).to_bytes(3, "big") + bytes([kind, flags]) + stream.to_bytes(4, "big") + payload


def _make_tls(credentials: Credentials) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.load_verify_locations(cadata=credentials.authority.decode())
    context.load_cert_chain(*credentials.paths)
    context.set_alpn_protocols(["h2"])
    return context
