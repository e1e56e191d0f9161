"""Diagnosis of TLS: a problem ends a node with one line about TLS, an unreachable server never does."""

import contextlib
import socket
import socketserver
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from fedmx.errors import RefusedError, UnreachableError
from fedmx.pki import tls_diagnosis
from fedmx.pki.authority import Authority
from fedmx.pki.credentials import Credentials
from fedmx.values import Address
from tests.fedmx.link.loopback import Hub, Node
from tests.fedmx.pki.papers import credentials_of, make_pki, verifier_of
from tests.fedmx.pki.proxies import Answering, Endless, Relay
from tests.fedmx.pki.tls_stage import Stage, end_of
from tests.ports import find_free_port


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return make_pki(tmp_path_factory.mktemp("pki"), "a")


@pytest.fixture(scope="module")
def other(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return make_pki(tmp_path_factory.mktemp("other"), "a")


@pytest.fixture
def stage(open_hub: Callable[..., Hub], authority: Authority, other: Authority, tmp_path: Path) -> Stage:
    (tmp_path / "revoked.txt").touch()
    return Stage(open_hub, authority, other, tmp_path)


_NOT_BELIEVED = (
    "the server's certificate failed verification ({}); expected a valid server certificate"
    " from the same authority as the files in {{site}}"
)
_REMEDY = (
    "expected a bundle from the server's federation: write one with `make bundle` on the server's"
    " machine and start clients with it: `make client BUNDLE=FOLDER`"
)
_OF_ANOTHER = (
    "the server's certificate belongs to another authority than the files in {site} (unable to get local"
    f" issuer certificate); {_REMEDY}"
)
_NOT_TAKEN = (
    "the server refuses the certificate of a: it belongs to another authority or is not valid on the"
    f" server's clock; {_REMEDY}"
)
# The server's credentials, the node's credentials, and the error message, word for word, by problem.
PROBLEMS: dict[str, tuple[str | None, str | None, str]] = {
    "only the server uses TLS": (
        "server",
        None,
        "the server uses TLS, but LINK_SECURITY=insecure here; expected mtls and a site's bundle",
    ),
    "only the node uses TLS": (
        None,
        "site",
        "the server does not use TLS; expected the same LINK_SECURITY on both sides",
    ),
    "the node is of another federation": (
        "server",
        "other_site",
        _OF_ANOTHER,
    ),
    "the server is out of date": ("past_server", "site", _NOT_BELIEVED.format("certificate has expired")),
    "a site says that it is the server": (
        "false_server",
        "site",
        _NOT_BELIEVED.format("unsuitable certificate purpose"),
    ),
    "the node is out of date for the server": ("server", "past_site", _NOT_TAKEN),
    "the server believes another authority": ("strange_server", "site", _NOT_TAKEN),
}


@pytest.mark.parametrize("problem", PROBLEMS)
def test_a_tls_problem_ends_a_node_within_seconds_with_a_one_line_error(problem: str, stage: Stage) -> None:
    server, site, message = PROBLEMS[problem]
    hub = stage.open(getattr(stage, server) if server else None)
    credentials = getattr(stage, site) if site else None
    error = end_of(hub.address, credentials)
    assert isinstance(error, RefusedError)
    folder = credentials.paths[0].parent if credentials else ""
    assert str(error) == f"SERVER_ADDRESS={hub.address}: TLS: {message.format(site=folder)}"
    assert hub.roster.nodes() == []


@pytest.fixture
def open_relay(stage: Stage) -> Iterator[Callable[..., Relay]]:
    """Opens relays to a server with certificates."""
    port, relays = stage.open(stage.server).address.port, []

    def open_one(host: str = "127.0.0.1", **options: bool) -> Relay:
        relays.append(Relay(host, port, **options))
        return relays[-1]

    yield open_one
    for relay in relays:
        relay.close()


def test_a_name_that_is_not_in_the_certificate_is_reported_with_the_remedy(
    open_relay: Callable[..., Relay], stage: Stage
) -> None:
    address = open_relay("127.0.0.2").address
    error = end_of(address, stage.site)
    assert isinstance(error, RefusedError)
    assert str(error) == (
        f"SERVER_ADDRESS={address}: TLS: the server's certificate is not valid for '127.0.0.2'; expected that"
        " name in SERVER_NAMES on the server, or a name of the certificate in SERVER_ADDRESS"
    )


@pytest.mark.parametrize(
    ("site", "message"),
    [
        ("site", "the server's certificate is not valid for 'fl.example.org'; expected that name in"),
        ("other_site", "the server's certificate belongs to another authority than the files in "),
        (None, "the server uses TLS, but LINK_SECURITY=insecure here"),
    ],
)
def test_a_tls_problem_is_diagnosed_through_a_proxy(
    site: str | None, message: str, open_relay: Callable[..., Relay], stage: Stage
) -> None:
    proxy, far = open_relay(is_proxy=True), Address("fl.example.org", 8080)
    error = end_of(far, getattr(stage, site) if site else None, proxy=proxy.address)
    assert isinstance(error, RefusedError)
    assert str(error).startswith(f"SERVER_ADDRESS={far}: TLS: {message}")
    assert set(proxy.asked) == {"CONNECT fl.example.org:8080 HTTP/1.1"}


def test_a_valid_server_behind_a_proxy_has_no_problem(open_relay: Callable[..., Relay], stage: Stage) -> None:
    proxy = open_relay(is_proxy=True)
    assert tls_diagnosis.find_problem(Address("localhost", 8080), stage.site, proxy.address) is None


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"HTTP/1.1 502 Bad Gateway\r\n\r\n",
        b"HTTP/1.1 200",
        b"HTTP/1.1 200 OK\r\n\r\n",
        b"x" * 100_000,
        b"\r\n\r\n",
    ],
)
def test_a_proxy_that_does_not_connect_is_not_a_tls_problem(answer: bytes, stage: Stage) -> None:
    handler = type("Handler", (Answering,), {"answer": answer})
    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), handler) as opened:
        threading.Thread(target=opened.serve_forever, args=(0.01,), daemon=True).start()
        near = Address("127.0.0.1", opened.server_address[1])
        for credentials in (stage.site, None):
            assert tls_diagnosis.find_problem(Address("localhost", 8080), credentials, near) is None
        opened.shutdown()


def test_an_endless_reply_of_a_proxy_is_not_a_tls_problem(stage: Stage) -> None:
    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Endless) as opened:
        threading.Thread(target=opened.serve_forever, args=(0.01,), daemon=True).start()
        near = Address("127.0.0.1", opened.server_address[1])
        assert tls_diagnosis.find_problem(Address("localhost", 8080), stage.site, near) is None
        opened.shutdown()


@pytest.fixture
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    """Waits only a moment for a silent server."""
    monkeypatch.setattr(tls_diagnosis, "_TIMEOUT_S", 0.2)


@pytest.mark.parametrize("host", ["127.0.0.1", "a..b", "x" * 70 + ".example.org", "no-such-host.invalid"])
@pytest.mark.parametrize("has_credentials", [True, False])
def test_an_unreachable_server_is_not_a_tls_problem(host: str, has_credentials: bool, stage: Stage) -> None:
    assert (
        tls_diagnosis.find_problem(Address(host, find_free_port()), stage.site if has_credentials else None)
        is None
    )


@pytest.mark.parametrize("has_credentials", [True, False])
def test_a_silent_server_is_not_a_tls_problem(has_credentials: bool, short: None, stage: Stage) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        address = Address("127.0.0.1", silent.getsockname()[1])
        assert tls_diagnosis.find_problem(address, stage.site if has_credentials else None) is None


class Ending:
    """A server that always closes the connection at one point of the handshake, as a killed one does once."""

    def __init__(self, credentials: Credentials, when: str) -> None:
        self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._context.load_cert_chain(*credentials.paths)
        self._when = when
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.address = Address("127.0.0.1", self._listener.getsockname()[1])
        threading.Thread(target=self._serve, daemon=True).start()

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def _serve(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = self._listener.accept()
                with connection:
                    self._end(connection)

    def _end(self, connection: socket.socket) -> None:
        if self._when == "after it":
            self._context.wrap_socket(connection, server_side=True).close()
            return
        hello = connection.recv(65536) if self._when == "in its answer" else b""
        inward, outward = ssl.MemoryBIO(), ssl.MemoryBIO()
        inward.write(hello)
        with contextlib.suppress(ssl.SSLWantReadError):
            self._context.wrap_bio(inward, outward, server_side=True).do_handshake()
        connection.sendall(outward.read()[:200])
        if self._when == "in the hello":
            connection.recv(16)  # the rest of it is never read


def test_a_server_that_closes_after_the_handshake_refuses_the_certificate(
    stage: Stage,
) -> None:
    ending = Ending(stage.server, "after it")
    try:
        for _ in range(5):
            problem = tls_diagnosis.find_problem(ending.address, stage.site)
            assert problem is not None
            assert problem.startswith("the server refuses the certificate of a")
    finally:
        ending.close()


@pytest.mark.parametrize("when", ["at once", "in the hello", "in its answer"])
def test_a_server_that_stops_during_the_handshake_is_unreachable(when: str, stage: Stage) -> None:
    ending = Ending(stage.server, when)
    try:
        assert [tls_diagnosis.find_problem(ending.address, stage.site) for _ in range(5)] == [None] * 5
        error = end_of(ending.address, stage.site, wait_timeout_s=0.5)
    finally:
        ending.close()
    assert isinstance(error, UnreachableError)


def test_a_valid_server_has_no_problem(stage: Stage) -> None:
    for server, site in ((stage.server, stage.site), (None, None)):
        hub = stage.open(server)
        assert [tls_diagnosis.find_problem(hub.address, site) for _ in range(5)] == [None] * 5


def test_files_that_were_deleted_meanwhile_are_not_a_tls_problem(stage: Stage, tmp_path: Path) -> None:
    credentials = replace(stage.site, paths=(tmp_path / "site.crt", tmp_path / "site.key"))
    assert tls_diagnosis.find_problem(stage.open(stage.server).address, credentials) is None


def test_a_node_waits_for_a_server_that_starts_and_stops_repeatedly(
    open_hub: Callable[..., Hub], authority: Authority
) -> None:
    port, credentials = find_free_port(), credentials_of(authority, "a")
    node = Node(Address("127.0.0.1", port), "x", credentials=credentials, wait_timeout_s=60).serve()
    verifier = verifier_of(authority)
    for seconds in (0.02, 0.1, 0.3, 0.05, 0.2, 0.0):
        time.sleep(0.1)
        hub = open_hub(port=port, verifier=verifier)
        time.sleep(seconds)
        hub.stop(None)
        assert node.outcome is None
    last = open_hub(port=port, verifier=verifier)
    last.nodes.append(node)
    last.await_ready("a.x")
    assert len(last.ask(last.message(name="a.x"))) == 1
