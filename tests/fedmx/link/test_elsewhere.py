"""While the server is away, something else answers at its address: its members wait for it."""

import contextlib
import io
import socket
import socketserver
import ssl
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import grpc
import pytest

from fedmx.errors import ProtocolError, RefusedError
from fedmx.link import backoff, channel
from fedmx.pki import tls_patience
from fedmx.pki.access import PeerVerifier
from fedmx.pki.certificates import SERVER
from fedmx.pki.credentials import Credentials
from fedmx.values import Address
from tests.fedmx.link.loopback import Hub, Node
from tests.fedmx.pki.papers import Mistakes, credentials_of, make_pki, start_node, verifier_of

# Twice as many as end a node that was never a member.
ATTEMPTS = 6
HTTP = b"HTTP/1.1 502 Bad Gateway\r\nContent-Length: 0\r\n\r\n"


class DefaultBackend(socketserver.ThreadingTCPServer):
    """A balancer's default backend: answers every connection in the same way.

    Args:
        port: where.
        answer: what it sends.
        credentials: its certificate and key; None disables TLS.
    """

    allow_reuse_address = daemon_threads = True

    def __init__(self, port: int, answer: bytes, credentials: Credentials | None) -> None:
        self.answer = answer
        self.tls: ssl.SSLContext | None = None
        if credentials is not None:
            self.tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            self.tls.load_cert_chain(*credentials.paths)
            self.tls.set_alpn_protocols(["h2"])
        super().__init__(("127.0.0.1", port), _Answering)
        threading.Thread(target=self.serve_forever, args=(0.01,), daemon=True).start()

    def close(self) -> None:
        self.shutdown()
        self.server_close()


class _Answering(socketserver.BaseRequestHandler):
    def handle(self) -> None:
        assert isinstance(self.server, DefaultBackend)
        connection: socket.socket = self.request
        connection.settimeout(5)
        with contextlib.suppress(OSError):
            if self.server.tls is not None:
                connection = self.server.tls.wrap_socket(connection, server_side=True)
            with connection:
                connection.recv(4096)
                connection.sendall(self.server.answer)


class OtherService:
    """Another gRPC service: it has no such method, or one that answers differently."""

    def __init__(self, port: int, answer: bytes | None) -> None:
        self._server = grpc.server(ThreadPoolExecutor(2))
        if answer is not None:
            join: grpc.RpcMethodHandler[bytes, bytes] = grpc.stream_stream_rpc_method_handler(
                lambda _, __: iter([answer])
            )
            handlers = grpc.method_handlers_generic_handler(channel.SERVICE, {channel.METHOD_NAME: join})
            self._server.add_generic_rpc_handlers((handlers,))
        self._server.add_insecure_port(f"127.0.0.1:{port}")
        self._server.start()

    def close(self) -> None:
        self._server.stop(None).wait()


class Impostors:
    """Everything that may listen at a server's address."""

    def __init__(self, folder: Path) -> None:
        self.authority = make_pki(folder / "pki", "a")
        other = make_pki(folder / "other", "a")
        (folder / "mistakes").mkdir()
        expired = Mistakes(self.authority, other, folder / "mistakes").make("expired", SERVER)
        right = credentials_of(self.authority)
        paths = expired / "server.crt", expired / "server.key"
        past = Credentials(right.authority, paths[0].read_bytes(), paths[1].read_bytes(), "server", paths)
        self._strange_gate = PeerVerifier(credentials_of(other), folder / "other" / "server" / "revoked.txt")
        self._own = {"another": credentials_of(other), "expired": past}

    def open(self, kind: str, port: int, open_hub: Callable[..., Hub]) -> Callable[[], None]:
        """Start listening; return a function that stops it."""
        if kind == "nothing":
            return lambda: None
        if kind in self._own:
            return DefaultBackend(port, HTTP, self._own[kind]).close
        if kind == "another federation":
            hub = open_hub(port=port, verifier=self._strange_gate)
            return lambda: hub.stop(None)
        if kind == "http":
            return DefaultBackend(port, HTTP, None).close
        return OtherService(port, {"no method": None, "other answers": b"\xff\xff"}[kind]).close


@pytest.fixture(scope="module")
def impostors(tmp_path_factory: pytest.TempPathFactory) -> Impostors:
    return Impostors(tmp_path_factory.mktemp("impostors"))


@pytest.fixture
def frequent(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every attempt to connect is logged, and a TLS problem is lasting after three of them."""
    for name in ("_FIRST_REPORT_S", "_SECOND_REPORT_S"):
        monkeypatch.setattr(backoff, name, 0.0)
    monkeypatch.setattr(backoff, "_LONGEST_PAUSE_S", 0.1)
    monkeypatch.setattr(tls_patience, "_LASTING_S", 0.0)


# What answers; whether the federation has certificates; what the log line has to contain.
ANSWERS = {
    "another": (True, "TLS: "),
    "expired": (True, "has expired"),
    "another federation": (True, "TLS: "),
    "http": (True, "TLS: "),
    "nothing": (True, "Connection refused"),
    "no method": (False, "not found"),
    "other answers": (False, "Frame"),
}


@pytest.mark.parametrize("kind", ANSWERS)
def test_a_member_waits_for_its_server_whatever_answers_in_its_place_and_logs_the_cause(
    kind: str, impostors: Impostors, open_hub: Callable[..., Hub], log: io.StringIO, frequent: None
) -> None:
    is_secure, seen = ANSWERS[kind]
    verifier = verifier_of(impostors.authority) if is_secure else None
    hub = open_hub(verifier=verifier)
    name = "a.x" if is_secure else "x"
    if is_secure:
        node = start_node(hub, credentials_of(impostors.authority, "a"), "x", wait_timeout_s=300.0)
    else:
        node = hub.start("x", wait_timeout_s=300.0)
    port = hub.address.port
    hub.stop(None)
    close = impostors.open(kind, port, open_hub)

    def find_lines() -> list[str]:
        return [line for line in log.getvalue().splitlines() if "waited_s=" in line and seen in line]

    try:
        hub.wait_until(lambda: len(find_lines()) >= ATTEMPTS or node.outcome is not None)
        assert node.outcome is None
    finally:
        close()
    back = open_hub(port=port, verifier=verifier)
    back.nodes.append(node)
    back.await_ready(name)
    assert len(back.ask(back.message(name=name))) == 1


@pytest.mark.parametrize("kind", ["another", "expired", "another federation", "http", "other answers"])
def test_a_node_that_was_never_a_member_ends_soon_with_the_cause(
    kind: str, impostors: Impostors, open_hub: Callable[..., Hub], frequent: None
) -> None:
    hub = open_hub()
    port = hub.address.port
    hub.stop(None)
    is_secure, seen = ANSWERS[kind]
    close = impostors.open(kind, port, open_hub)
    own = credentials_of(impostors.authority, "a") if is_secure else None
    try:
        error = Node(Address("127.0.0.1", port), "x", credentials=own, wait_timeout_s=300.0).serve().join()
    finally:
        close()
    assert isinstance(error, RefusedError if is_secure else ProtocolError)
    assert seen in str(error)
