"""What a status server answers to any request, with a run or without."""

import json
import re
import signal
import socket
import subprocess
import sys
import threading
from contextlib import ExitStack
from pathlib import Path

import pytest

from fedmx import __version__
from fedmx.errors import SettingsError
from fedmx.values import Address
from server.status import listening
from tests.bounds import HANG_S
from tests.server.status.conftest import Serve
from tests.server.status.web import fetch, wait_until

PATHS = ["/", "/healthz", "/status.json", "/metrics", "/runs/none.json", "/none"]
ROOT = Path(__file__).parents[3]


def connect(url: str) -> socket.socket:
    port = int(url.rstrip("/").rpartition(":")[2])
    return socket.create_connection(("127.0.0.1", port), timeout=HANG_S)


def read_all(connection: socket.socket) -> bytes:
    """Read until the server ends the connection."""
    received = b""
    while data := _receive(connection):
        received += data
    return received


def _receive(connection: socket.socket) -> bytes:
    try:
        return connection.recv(65536)
    except ConnectionError:
        return b""


def test_a_server_without_a_run_answers_every_path(serve: Serve) -> None:
    url = serve().url or ""
    assert [fetch(url, path).status for path in PATHS] == [200, 200, 200, 200, 404, 404]
    status = fetch(url, "/status.json").json
    assert (status["fedmx"], status["state"], status["run"]) == (__version__, "waiting", None)
    assert (status["nodes"], status["runs"]) == ([], [])
    assert fetch(url, "/healthz").json == {"state": "waiting", "run_id": None, "round": 0}


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "CONNECT", "BREW"])
def test_every_method_that_could_change_something_is_refused(method: str, serve: Serve) -> None:
    url = serve().url or ""
    for path in PATHS:
        answer = fetch(url, path, method)
        assert (answer.status, answer.headers["allow"]) == (405, "GET, HEAD")


def test_a_head_request_has_the_headers_of_a_get_and_no_content(serve: Serve) -> None:
    url = serve().url or ""
    for path in ("/", "/healthz", "/metrics"):
        head, get = fetch(url, path, "HEAD"), fetch(url, path)
        assert (head.status, head.sent) == (200, b"")
        assert head.headers["content-length"] == get.headers["content-length"] == str(len(get.sent))


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_every_answer_has_the_headers_that_protect_it(method: str, path: str, serve: Serve) -> None:
    headers = fetch(serve().url or "", path, method, Origin="http://evil.example.org").headers
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["x-frame-options"] == "DENY"
    assert headers["referrer-policy"] == "no-referrer"
    assert headers["cache-control"] in ("no-store", "no-cache")
    assert "frame-ancestors 'none'" in headers["content-security-policy"]
    assert "default-src 'none'" in headers["content-security-policy"]
    assert not [name for name in headers if name.startswith("access-control")]
    assert "server" not in headers


@pytest.mark.parametrize("path", PATHS)
def test_a_host_of_another_site_gets_nothing_but_one_line(path: str, serve: Serve) -> None:
    url = serve(status_names=("fl.example.org",)).url or ""
    answer = fetch(url, path, Host="evil.example.org")
    assert answer.status == 403
    assert answer.text.count("\n") == 1
    assert "evil.example.org" in answer.text
    assert fetch(url, path, Host="fl.example.org:9000").status != 403


def test_content_is_sent_compressed_to_those_who_accept_it(serve: Serve) -> None:
    url = serve().url or ""
    plain, packed = fetch(url, "/metrics"), fetch(url, "/metrics", Accept_Encoding="br, gzip;q=0.5")
    assert packed.headers["content-encoding"] == "gzip"
    assert len(packed.sent) < len(plain.sent)
    assert packed.headers["vary"] == "Accept-Encoding"
    assert "fedmx_run_state" in packed.text
    assert "content-encoding" not in fetch(url, "/metrics", Accept_Encoding="gzip;q=0").headers


@pytest.mark.parametrize("path", ["/", "/status.json"])
def test_content_that_a_client_has_already_is_not_sent_again(path: str, serve: Serve) -> None:
    url = serve().url or ""
    tag = fetch(url, path).headers["etag"]
    answer = fetch(url, path, If_None_Match=f'"other", {tag}')
    assert (answer.status, answer.sent, answer.headers["etag"]) == (304, b"", tag)
    assert fetch(url, path, If_None_Match='"other"').status == 200


def test_an_address_in_use_is_an_error_of_one_line(serve: Serve) -> None:
    address = Address.parse((serve().url or "").removeprefix("http://").rstrip("/"))
    with pytest.raises(SettingsError) as caught:
        serve(status_address=address)
    [line] = str(caught.value).splitlines()
    assert line.startswith(f"STATUS_ADDRESS={address}: cannot listen: ")
    assert caught.value.exit_code == 2


@pytest.mark.parametrize("host", ["192.0.2.1", "no-such-host.invalid", "a" * 64])
def test_an_address_of_another_machine_is_an_error_of_one_line(host: str, serve: Serve) -> None:
    with pytest.raises(SettingsError, match="STATUS_ADDRESS="):
        serve(status_address=Address(host, 0))


@pytest.mark.parametrize("host", ["::1", "::", "0.0.0.0", "localhost"])  # noqa: S104 - in this test alone
def test_every_kind_of_address_has_a_url_on_this_machine(host: str, serve: Serve) -> None:
    if ":" in host and not has_ipv6():
        pytest.skip("this machine has no IPv6")
    url = serve(status_address=Address(host, 0)).url or ""
    assert fetch(url, "/healthz").status == 200


def has_ipv6() -> bool:
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError:
        return False
    return True


def test_a_server_that_has_ended_leaves_its_address_free(serve: Serve) -> None:
    first = serve()
    address = Address.parse((first.url or "").removeprefix("http://").rstrip("/"))
    assert fetch(first.url or "").status == 200
    first.close(is_stopped=False)
    assert serve(status_address=address).url == first.url


def test_the_program_ends_with_two_if_the_address_is_in_use(tmp_path: Path, serve: Serve) -> None:
    address = (serve().url or "").removeprefix("http://").rstrip("/")
    done = subprocess.run(
        [sys.executable, "-m", "server"],
        env={"STATUS_ADDRESS": address, "LINK_SECURITY": "insecure", "RUNS_DIR": str(tmp_path / "other")},
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert f"STATUS_ADDRESS={address}: cannot listen: " in done.stderr.splitlines()[-1]
    assert list((tmp_path / "other").glob("*/run.json")) == []


def test_signals_and_logs_stay_those_of_the_program(
    serve: Serve,
    capfd: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("fedmx.log.logger.propagate", True)
    before = signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)
    url = serve().url or ""
    for sent in (
        b"\x00\xff\r\n\r\n",
        b"GET / HTTP/1.1\r\n\r\n",
        b"GET / HTTP/9.9\r\nHost: a\r\nConnection: close\r\n\r\n",
        # What follows is not a chunk, and arrives while the request is answered.
        b"GET / HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\nZZZ\r\n",
    ):
        with connect(url) as connection:
            connection.sendall(sent)
            assert read_all(connection).startswith(b"HTTP/1.1 4")
    assert fetch(url, "/healthz", Connection="upgrade", Upgrade="websocket").status == 200
    assert (signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)) == before
    captured = capfd.readouterr()
    assert captured.out == ""
    assert [line for line in captured.err.splitlines() if "status page" not in line] == []
    assert [record.message for record in caplog.records if record.levelname != "INFO"] == []


def test_headers_that_are_too_large_end_their_connection(serve: Serve) -> None:
    url = serve().url or ""
    with connect(url) as connection:
        connection.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\nX: " + b"x" * 100_000)
        assert read_all(connection).startswith(b"HTTP/1.1 400")
    assert fetch(url, "/healthz").status == 200


def test_a_flood_of_connections_leaves_the_newest_few_out_and_the_server_alive(serve: Serve) -> None:
    url = serve().url or ""
    with ExitStack() as stack:
        idle = [stack.enter_context(connect(url)) for _ in range(listening._MOST_CONNECTIONS + 20)]
        # Those that are too many were ended at once.
        assert _receive(idle[-1]) == b""
        idle[0].close()
        wait_until(lambda: is_answered(url))
    assert threading.active_count() < listening._MOST_CONNECTIONS


def is_answered(url: str) -> bool:
    try:
        return fetch(url, "/healthz").status == 200
    except OSError:
        return False


def test_a_client_that_is_slow_to_ask_is_disconnected(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listening, "_PATIENCE_S", 0.3)
    with connect(serve().url or "") as connection:
        connection.sendall(b"GET / HTTP/1.1\r\n")
        assert read_all(connection) == b""


def test_a_client_that_is_slow_to_read_is_disconnected(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    server = serve()
    # More than the buffers of both ends hold.
    large = "x" * 50_000_000
    monkeypatch.setattr(server._live, "_described", ((0, None), json.dumps(large)))
    monkeypatch.setattr(server._live, "_describe_run", lambda: json.dumps(large))
    monkeypatch.setattr(listening, "_PATIENCE_S", 0.5)
    with connect(server.url or "") as connection:
        connection.sendall(b"GET /status.json HTTP/1.1\r\nHost: localhost\r\n\r\n")
        wait_until(lambda: not server._listener._server.server_state.connections)
        assert len(read_all(connection)) < len(large)


def test_a_failure_is_one_warning_without_a_traceback(
    serve: Serve, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("fedmx.log.logger.propagate", True)
    server = serve()
    monkeypatch.setattr(server._live, "_describe_run", lambda: 1 / 0)
    answers = [fetch(server.url or "", "/status.json") for _ in range(3)]
    assert [answer.status for answer in answers] == [500] * 3
    assert "division" not in answers[0].text
    assert len([line for line in caplog.messages if re.match("status page failed.*division", line)]) == 1
    assert fetch(server.url or "", "/healthz").status == 200
