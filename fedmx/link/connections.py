"""What the kernel knows of this process's TCP connections: when bytes arrived, and how many moved."""

import contextlib
import os
import socket
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple
from urllib.parse import unquote

# Linux's struct tcp_info. 8 u8 and 11 u32 precede tcpi_last_data_recv, in milliseconds. 12 u32 and two u64
# follow, then u64 tcpi_bytes_acked and tcpi_bytes_received, two u32, and u32 tcpi_notsent_bytes.
_TCP_INFO = struct.Struct("=52xI64xQQ8xI")

Peer = tuple[str, int]
"""The host and port of the other end of a connection."""


class Connection(NamedTuple):
    """One connection. Where a proxy or a load balancer is in between, it is the one to that.

    Attributes:
        age_s: seconds since bytes arrived.
        acknowledged: bytes that were sent and have reached the other end's kernel.
        received: bytes that have reached this kernel.
        unsent: bytes that this kernel has not sent yet.
    """

    age_s: float
    acknowledged: int
    received: int
    unsent: int


Connections = Mapping[Peer, Connection]


def measure() -> Connections:
    """Ask the kernel about all connections of this process; empty on systems other than Linux."""
    try:
        descriptors = [int(entry.name) for entry in Path("/proc/self/fd").iterdir()]
    except OSError:
        return {}
    found: dict[Peer, Connection] = {}
    for descriptor in descriptors:
        # Raised if the descriptor is not a TCP connection, or no longer one.
        with contextlib.suppress(OSError):
            peer, connection = _measure(descriptor)
            if peer not in found or connection < found[peer]:
                found[peer] = connection
    return found


def _measure(descriptor: int) -> tuple[Peer, Connection]:
    with _copy(descriptor) as connection:
        info = connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _TCP_INFO.size)
        address = connection.getpeername()
    # Old kernels have fewer fields.
    age_ms, acknowledged, received, unsent = _TCP_INFO.unpack(info.ljust(_TCP_INFO.size, b"\0"))
    peer = address[0].removeprefix("::ffff:"), address[1]
    return peer, Connection(age_ms / 1000.0, acknowledged, received, unsent)


def _copy(descriptor: int) -> socket.socket:
    """Duplicate a descriptor as a socket: gRPC owns the original and may close it at any time."""
    copy = os.dup(descriptor)
    try:
        return socket.socket(fileno=copy)
    except OSError:
        # It is not a socket.
        os.close(copy)
        raise


def parse_peer(name: str) -> Peer:
    """Parse gRPC's name of a peer, such as `ipv6:%5B::1%5D:50000`; the port is 0 if it has none."""
    host, _, port = unquote(name.partition(":")[2]).rpartition(":")
    # The kernel names a link-local address without the zone that gRPC adds: `fe80::1%2`.
    host = host.strip("[]").partition("%")[0]
    return host, int(port) if port.isdecimal() else 0
