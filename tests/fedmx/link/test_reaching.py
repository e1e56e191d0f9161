"""How a node reaches its server or reports why not, and how the server's goodbye ends it."""

import contextlib
import math
import socket
import socketserver
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc
import pytest

from fedmx.errors import FederationError, ProtocolError, RefusedError, TrainingFailedError, UnreachableError
from fedmx.link import channel
from fedmx.protocol import link_pb2 as pb
from fedmx.settings import ClientSettings, ServerSettings
from fedmx.values import Address
from tests.extremes import list_accepted
from tests.federation.chaos.cable import Cable
from tests.fedmx.link.loopback import Hub, Node
from tests.fedmx.link.raw_node import RawNode
from tests.ports import find_free_port

PROXY_VARIABLES = ("http_proxy", "https_proxy", "grpc_proxy", "HTTP_PROXY", "HTTPS_PROXY")


def end_of(address: Address, **options: Any) -> tuple[FederationError | None, float]:
    """Return how a node ended, and after how many seconds."""
    began = time.monotonic()
    error = Node(address, **options).serve().join()
    return error, time.monotonic() - began


def test_without_a_server_a_node_gives_up_within_its_wait_and_names_address_and_cause() -> None:
    address = Address("127.0.0.1", find_free_port())
    error, seconds = end_of(address, wait_timeout_s=0.5)
    assert isinstance(error, UnreachableError)
    assert str(error).startswith(
        f"SERVER_ADDRESS={address}: no server answered within 0.5 s (SERVER_WAIT_TIMEOUT): "
    )
    assert "Connection refused" in str(error)
    assert seconds > 0.3


def test_a_host_that_does_not_exist_is_named() -> None:
    error, _ = end_of(Address("no-such-host.invalid", 8080), wait_timeout_s=1)
    assert isinstance(error, UnreachableError)
    assert str(error).startswith("SERVER_ADDRESS=no-such-host.invalid:8080: no server answered within 1 s")
    assert "address lookup failed for no-such-host.invalid:8080: " in str(error)


def test_a_silent_server_is_given_up_within_the_wait() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        error, _ = end_of(Address("127.0.0.1", silent.getsockname()[1]), wait_timeout_s=0.5)
    assert isinstance(error, UnreachableError)
    assert str(error).endswith("no server answered within 0.5 s (SERVER_WAIT_TIMEOUT): no answer")


class _Html(socketserver.BaseRequestHandler):
    def handle(self) -> None:
        self.request.recv(1024)
        self.request.sendall(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n")


def test_a_server_of_another_protocol_is_given_up_with_a_cause() -> None:
    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), _Html) as other:
        threading.Thread(target=other.serve_forever, daemon=True).start()
        error, _ = end_of(Address("127.0.0.1", other.server_address[1]), wait_timeout_s=0.5)
        other.shutdown()
    assert isinstance(error, UnreachableError)
    assert not str(error).endswith("no answer")


def test_a_node_may_start_before_its_server(open_hub: Callable[..., Hub]) -> None:
    port = find_free_port()
    node = Node(Address("127.0.0.1", port), "early").serve()
    # There is no event to wait for: there is no server yet.
    time.sleep(0.3)
    hub = open_hub(port=port)
    hub.nodes.append(node)
    hub.await_ready("early")
    assert len(hub.ask(hub.message(name="early"))) == 1


def has_ipv6() -> bool:
    try:
        with socket.create_server(("::1", 0), family=socket.AF_INET6):
            return True
    except OSError:
        return False


@pytest.mark.skipif(not has_ipv6(), reason="this machine has no IPv6 loopback")
def test_a_server_may_listen_on_ipv6(open_hub: Callable[..., Hub]) -> None:
    hub = open_hub(host="::1")
    hub.start()
    assert len(hub.ask()) == 1


def test_proxies_of_the_environment_are_ignored(
    open_hub: Callable[..., Hub], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in PROXY_VARIABLES:
        monkeypatch.setenv(name, f"http://127.0.0.1:{find_free_port()}")
    hub = open_hub()
    hub.start()
    assert len(hub.ask()) == 1


class Proxy(socketserver.ThreadingTCPServer):
    """An HTTP proxy that supports CONNECT, and connects to one port whatever it is asked for."""

    daemon_threads = True

    def __init__(self, cable: Cable) -> None:
        super().__init__(("127.0.0.1", 0), _Connect)
        self.cable = cable
        self.asked: list[str] = []


class _Connect(socketserver.StreamRequestHandler):
    def handle(self) -> None:
        assert isinstance(self.server, Proxy)
        self.server.asked.append(self.rfile.readline().decode().strip())
        while self.rfile.readline().strip():
            pass
        self.wfile.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
        with socket.create_connection(("127.0.0.1", self.server.cable.address.port)) as far:
            back = threading.Thread(target=_copy, args=(far, self.connection), daemon=True)
            back.start()
            _copy(self.connection, far)


def _copy(source: socket.socket, sink: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while data := source.recv(65536):
            sink.sendall(data)


@pytest.fixture
def proxy(hub: Hub, cable: Cable) -> Iterator[Proxy]:
    with Proxy(cable) as opened:
        threading.Thread(target=opened.serve_forever, daemon=True).start()
        yield opened
        hub.stop()
        # Otherwise an open connection would keep the proxy open.
        cable.close()
        opened.shutdown()


def test_a_configured_proxy_is_used(hub: Hub, proxy: Proxy) -> None:
    hub.start(
        address=Address("server.example.org", 8080), proxy=Address("127.0.0.1", proxy.server_address[1])
    )
    assert len(hub.ask()) == 1
    assert proxy.asked == ["CONNECT server.example.org:8080 HTTP/1.1"]


def test_a_configured_proxy_that_does_not_answer_is_named_as_the_cause(hub: Hub) -> None:
    proxy = Address("127.0.0.1", find_free_port())
    error, _ = end_of(Address("example.org", 80), wait_timeout_s=0.5, proxy=proxy)
    assert isinstance(error, UnreachableError)
    assert "Connection refused" in str(error)


@pytest.mark.parametrize(
    ("outcome", "reason", "kind", "message"),
    [
        (pb.Goodbye.FINISHED, "", None, ""),
        (
            pb.Goodbye.FAILED,
            "round 2 failed\n3 times",
            TrainingFailedError,
            r"the server reports that the run failed: round 2 failed\n3 times",
        ),
        (pb.Goodbye.REFUSED, "not you", RefusedError, "the server refused this node: not you"),
        (pb.Goodbye.OUTCOME_UNSPECIFIED, "", TrainingFailedError, "the server reports that the run failed: "),
    ],
)
def test_the_goodbye_notifies_each_node_of_the_outcome(
    outcome: "pb.Goodbye.Outcome", reason: str, kind: type[FederationError] | None, message: str, hub: Hub
) -> None:
    nodes = [hub.start(name) for name in ("north", "south")]
    hub.stop(outcome, reason)
    for node in nodes:
        error = node.join()
        assert (error and type(error), str(error or "")) == (kind, message)


def test_a_node_that_is_still_loading_receives_the_goodbye(hub: Hub) -> None:
    node = Node(hub.address)
    hub.wait_until(lambda: len(hub.roster.nodes()) == 1)
    hub.stop(pb.Goodbye.FAILED, "too few nodes")
    error = node.serve().join()
    assert isinstance(error, TrainingFailedError)


def test_without_a_goodbye_a_node_waits_for_the_server_and_then_gives_up(hub: Hub) -> None:
    node = hub.start(wait_timeout_s=0.5)
    hub.stop(None)
    error = node.join()
    assert isinstance(error, UnreachableError)
    assert "no server answered within 0.5 s" in str(error)


def test_a_server_that_violates_the_protocol_ends_the_node_with_a_reason() -> None:
    def answer(requests: Iterator[bytes], _: grpc.ServicerContext) -> Iterator[bytes]:
        next(requests)
        yield pb.Frame(welcome=pb.Welcome(name="n", node_id=2)).SerializeToString()
        yield pb.Frame(hello=pb.Hello()).SerializeToString()

    server = grpc.server(ThreadPoolExecutor(1))
    join: grpc.RpcMethodHandler[bytes, bytes] = grpc.stream_stream_rpc_method_handler(answer)
    server.add_generic_rpc_handlers(
        (grpc.method_handlers_generic_handler(channel.SERVICE, {channel.METHOD_NAME: join}),)
    )
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    error, _ = end_of(Address("127.0.0.1", port))
    server.stop(None)
    assert isinstance(error, ProtocolError)
    assert str(error) == "the server sent an unexpected frame hello"


def test_a_node_waits_for_its_server_for_every_accepted_setting(
    open_hub: Callable[..., Hub],
) -> None:
    waits = {s.server_wait_timeout for s in list_accepted(ClientSettings, "SERVER_WAIT_TIMEOUT").values()}
    assert max(waits) == math.inf
    for wait_s in sorted(waits):
        port = find_free_port()
        node = Node(Address("127.0.0.1", port), wait_timeout_s=wait_s).serve()
        if wait_s < 1:
            assert isinstance(node.join(), UnreachableError)
            continue
        if wait_s < 10:
            continue
        # Time for attempts to connect.
        time.sleep(0.2)
        hub = open_hub(port=port)
        hub.nodes.append(node)
        hub.await_ready("node")
        hub.stop()
        assert node.join() is None


def test_a_request_waits_for_every_accepted_setting(hub: Hub) -> None:
    hub.start()
    for settings in list_accepted(ServerSettings, "ROUND_TIMEOUT").values():
        if settings.round_timeout > 1:
            assert len(hub.ask(hub.message(), timeout=settings.round_timeout)) == 1


def test_a_server_waits_for_a_lost_node_for_every_accepted_setting(
    open_hub: Callable[..., Hub],
) -> None:
    for settings in list_accepted(ServerSettings, "LEASE_GRACE").values():
        hub = open_hub(lease_grace_s=settings.lease_grace)
        node = RawNode(hub.address)
        node.get_ready()
        node.hang_up()
        hub.await_gone("raw")
        hub.stop()


def test_both_ends_work_with_every_accepted_model_limit(open_hub: Callable[..., Hub]) -> None:
    for settings in list_accepted(ServerSettings, "MAX_MODEL_BYTES").values():
        hub = open_hub(max_model_bytes=settings.max_model_bytes)
        hub.start(max_model_bytes=settings.max_model_bytes)
        assert len(hub.ask(hub.message())) == 1
        hub.stop()
