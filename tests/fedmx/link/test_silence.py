"""Who is gone: not whose bytes arrive, however slowly, and whoever sends none."""

import math
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from fedmx.link import silence
from fedmx.link.silence import Silence, Watchdog


def count_looks(one: Silence) -> int:
    """Look every second until the other end is gone, and return how often that was."""
    return next(count for count in range(1, 1000) if one.look(1.0))


def test_without_any_byte_the_other_end_is_gone_after_thirty_seconds() -> None:
    assert count_looks(Silence(lambda: math.inf)) == 30


def test_each_frame_begins_the_count_anew() -> None:
    one = Silence(lambda: math.inf)
    for _ in range(10):
        assert not any(one.look(1.0) for _ in range(29))
        one.end()
    assert count_looks(one) == 30


def test_bytes_that_arrived_lately_without_a_whole_frame_count_like_one() -> None:
    ages = iter([4.0, 29.0, 45.0])
    assert count_looks(Silence(lambda: next(ages))) == 30 + 26 + 1


def test_a_process_that_was_stopped_looks_at_what_came_meanwhile() -> None:
    one = Silence(lambda: 0.2)
    assert not one.look(3600.0)


@pytest.fixture
def pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    """Both ends of a connection."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        near = socket.create_connection(listener.getsockname())
        far, _ = listener.accept()
    with near, far:
        yield near, far


def test_the_kernel_tells_when_bytes_arrived_last_on_the_connection_to_a_peer(
    pair: tuple[socket.socket, socket.socket],
) -> None:
    near, far = pair
    host, port = far.getsockname()[:2]
    is_peer = silence.is_peer_of(f"ipv4:{host}:{port}")
    far.sendall(b"x")
    near.recv(1)
    time.sleep(0.5)  # what is measured is time
    old = silence.measure(is_peer)
    assert 0.4 < old < math.inf
    far.sendall(b"x")
    near.recv(1)
    began = time.monotonic()
    assert silence.measure(is_peer) < 0.4 + time.monotonic() - began


def count_descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def test_it_tells_of_no_other_connection_and_closes_none(
    pair: tuple[socket.socket, socket.socket],
) -> None:
    near, far = pair
    before = count_descriptors()
    host, port = far.getsockname()[:2]
    for name in (f"ipv4:127.0.0.9:{port}", f"ipv4:{host}:1", "unix:", "ipv4:", "nonsense"):
        assert silence.measure(silence.is_peer_of(name)) == math.inf
    assert count_descriptors() == before
    far.sendall(b"still there")
    assert near.recv(100) == b"still there"


@pytest.mark.parametrize(
    ("name", "host", "port"),
    [
        ("ipv4:10.1.2.3:50000", "10.1.2.3", 50000),
        ("ipv6:%5B::1%5D:50000", "::1", 50000),
        ("ipv6:[fe80::1]:7", "fe80::1", 7),
    ],
)
def test_a_peer_is_known_by_its_name_in_grpc(name: str, host: str, port: int) -> None:
    is_peer = silence.is_peer_of(name)
    assert is_peer(host, port)
    assert not is_peer(host, port + 1)
    assert not is_peer(host + "1", port)


def test_a_watchdog_barks_once_when_nothing_arrives_and_never_once_it_is_stopped(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(silence, "_LOOK_S", 0.01)
    monkeypatch.setattr(silence, "LIMIT_S", 0.05)
    barked = threading.Event()
    for is_stopped in (True, False):
        dog = Watchdog(Silence(lambda: math.inf), barked.set)
        if is_stopped:
            dog.stop()
        dog.start()
        if not is_stopped:
            assert barked.wait(30)
        assert dog.has_barked is not is_stopped
