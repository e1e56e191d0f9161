"""HTTP requests: proxies, certificates, limits, and what errors name."""

import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from server.trackers import http_client
from server.trackers.http_client import Call, RequestError, WebAddress, send
from tests.bounds import HANG_S
from tests.federation.programs import find_pki
from tests.web import recording_server


@pytest.fixture(autouse=True)
def fresh_opener(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The environment of a test alone decides."""
    for name in ("http_proxy", "https_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    http_client.build_cached_opener.cache_clear()
    yield
    http_client.build_cached_opener.cache_clear()


@contextmanager
def tls_server(folder: Path) -> Iterator[str]:
    """Answer one request over TLS, with the certificate of a federation's server."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "server.crt", folder / "server.key")

    def serve() -> None:
        plain, _ = listener.accept()
        try:
            with context.wrap_socket(plain, server_side=True) as connection:
                connection.recv(65536)
                connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nsafe")
        except OSError:
            plain.close()

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=serve)
        thread.start()
        yield f"https://127.0.0.1:{listener.getsockname()[1]}"
        thread.join(HANG_S)


def test_a_proxy_of_the_environment_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    with recording_server() as proxy:
        monkeypatch.setenv("HTTP_PROXY", proxy.url)
        send(WebAddress.parse("http://tracker.example/base/"), Call("GET", "/x"), HANG_S)
    assert [request.path for request in proxy.received] == ["http://tracker.example/base/x"]


def test_a_host_without_proxy_is_reached_directly(monkeypatch: pytest.MonkeyPatch) -> None:
    with recording_server() as proxy, recording_server() as web:
        monkeypatch.setenv("HTTP_PROXY", proxy.url)
        monkeypatch.setenv("NO_PROXY", "127.0.0.1")
        send(WebAddress.parse(web.url), Call("GET", "/x"), HANG_S)
    assert (len(proxy.received), len(web.received)) == (0, 1)


def test_a_certificate_of_an_unknown_authority_is_refused_and_that_of_a_known_one_accepted(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    folder = find_pki() / "server"
    with tls_server(folder) as url, pytest.raises(RequestError, match="certificate verify failed"):
        send(WebAddress.parse(url), Call("GET"), HANG_S)
    http_client.build_cached_opener.cache_clear()
    monkeypatch.setenv("SSL_CERT_FILE", str(folder / "authority.crt"))
    with tls_server(folder) as url:
        assert send(WebAddress.parse(url), Call("GET"), HANG_S) == b"safe"


def test_an_answer_that_never_ends_is_given_up() -> None:
    is_over = threading.Event()

    def serve() -> None:
        connection, _ = listener.accept()
        with connection:
            connection.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
            while not is_over.wait(0.01):
                connection.sendall(b"x")

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=serve)
        thread.start()
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        with pytest.raises(RequestError, match="no answer within"):
            send(WebAddress.parse(url), Call("GET"), 0.2)
        is_over.set()
        thread.join(HANG_S)


@pytest.mark.parametrize("answer", [b"", b"220 mail.example ESMTP\r\n"])
def test_an_answer_that_is_not_http_is_an_error_that_names_the_host(answer: bytes) -> None:
    def serve() -> None:
        connection, _ = listener.accept()
        with connection:
            connection.recv(65536)
            connection.sendall(answer)

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=serve)
        thread.start()
        shown = f"127.0.0.1:{listener.getsockname()[1]}"
        with pytest.raises(RequestError) as caught:
            send(WebAddress.parse(f"http://{shown}/secret"), Call("GET"), HANG_S)
        thread.join(HANG_S)
    assert shown in str(caught.value)
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "url", "shown"),
    [
        ("https://a.example/b/", "https://a.example/b", "https://a.example"),
        ("https://u:p@a.example:8443/b?c=d", "https://a.example:8443/b?c=d", "https://a.example:8443"),
        ("http://[::1]:5000", "http://[::1]:5000", "http://[::1]:5000"),
    ],
)
def test_what_is_shown_of_an_address_has_no_password_and_no_path(text: str, url: str, shown: str) -> None:
    address = WebAddress.parse(text)
    assert (address.url, address.shown) == (url, shown)
    assert "Basic" not in repr(address)
