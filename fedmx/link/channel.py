"""The gRPC connection: method and options of both ends, how a node dials, and why a connection failed."""

import logging
import re
import socket
from collections.abc import Callable
from typing import Any

import grpc
import grpc.aio

from fedmx.errors import SettingsError
from fedmx.link import open_files
from fedmx.log import printable
from fedmx.values import Address

SERVICE = "fedmx.link.Link"
METHOD_NAME = "Join"
METHOD = f"/{SERVICE}/{METHOD_NAME}"

_IDLE_MS = 10_000

Option = tuple[str, int | str]
# What a handler of gRPC's reads is bytes, or EOF; what it writes is bytes.
ServicerContext = grpc.aio.ServicerContext[Any, bytes]
# The node's end of a stream.
Call = grpc.aio.StreamStreamCall[bytes, bytes]

# gRPC: errors resolving a:1: [field:hostname lookup error:address lookup failed for a:1: no such name]
_RESOLVING = re.compile(r"errors resolving .*? error:(.*)\]")

# Pings keep a connection open while a node trains for minutes and no data flows. Neither end may count them
# against the other: by default gRPC answers such pings with ENHANCE_YOUR_CALM. A late answer does not end a
# connection either, because on a slow line it queues behind all data; `silence.py` detects who is gone. The
# timeout is also gRPC 1.85's limit for bandwidth probes and settings, and its TCP_USER_TIMEOUT.
KEEPALIVE: tuple[Option, ...] = (
    ("grpc.keepalive_time_ms", 10_000),
    ("grpc.keepalive_timeout_ms", 2**31 - 1),
    ("grpc.keepalive_permit_without_calls", 1),
    ("grpc.http2.max_pings_without_data", 0),
    ("grpc.http2.max_ping_strikes", 0),
    ("grpc.http2.min_ping_interval_without_data_ms", 1_000),
)

# What a node may send before the server has read it. It fills 100 Mbit/s at a round trip of 100 ms: through
# such a line an update travels at 98 % of the rate of plain TCP, with 1 MiB at 90 %, with gRPC's 64 KiB at
# 46 %. By default gRPC measures the line and sets the window to 4 MiB or more, which every stream may fill
# while the server is busy: 72 MB for 20 nodes, against 43 MB. A node has one stream and keeps that default.
_SERVER_WINDOW: tuple[Option, ...] = (
    ("grpc.http2.bdp_probe", 0),
    ("grpc.http2.lookahead_bytes", 5 * 256 * 1024),
)


def options(frame_bytes: int) -> list[Option]:
    """Return the channel options that both ends have."""
    return [
        ("grpc.max_receive_message_length", frame_bytes),
        ("grpc.max_send_message_length", frame_bytes),
        *KEEPALIVE,
    ]


def server_options(frame_bytes: int) -> list[Option]:
    """Return the options of a server's port, to which anyone may connect.

    A node opens its stream at once, so a connection without one is closed after a while. Connections are
    limited, so that the program can always open other files.
    """
    return [
        *options(frame_bytes),
        *_SERVER_WINDOW,
        ("grpc.server_handshake_timeout_ms", _IDLE_MS),
        ("grpc.max_connection_idle_ms", _IDLE_MS),
        # Per connection: each node has one stream on a connection of its own.
        ("grpc.max_concurrent_streams", 4),
        ("grpc.max_allowed_incoming_connections", open_files.make_room_for_connections()),
    ]


def check_listening(address: Address) -> None:
    """Try to bind an address with a plain socket, whose error is clearer than gRPC's.

    Raises:
        SettingsError: the address cannot be listened on.
    """
    try:
        found = socket.getaddrinfo(address.host, address.port, type=socket.SOCK_STREAM)
        family, kind, _, _, target = found[0]
        with socket.socket(family, kind) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(target)
    except (OSError, UnicodeError) as error:
        # UnicodeError: the host is not a name that can be looked up.
        cause = getattr(error, "strerror", None) or error
        raise SettingsError(
            f"LISTEN_ADDRESS={address}: {cause}; expected a free address of this machine"
        ) from None


def dial(
    address: Address, frame_bytes: int, proxy: Address | None, credentials: grpc.ChannelCredentials | None
) -> grpc.aio.Channel:
    """Open a channel to a server.

    Args:
        address: the server's.
        frame_bytes: the largest frame.
        proxy: an HTTP proxy; None disables proxies, whatever the environment sets.
        credentials: TLS; None is plain text.
    """
    chosen = node_options(frame_bytes, proxy)
    if credentials is None:
        return grpc.aio.insecure_channel(str(address), chosen)
    return grpc.aio.secure_channel(str(address), credentials, chosen)


def node_options(frame_bytes: int, proxy: Address | None) -> list[Option]:
    """Return the options of a node's channel, as in `dial`."""
    chosen: list[Option] = [
        *options(frame_bytes),
        ("grpc.enable_http_proxy", int(proxy is not None)),
        # Without it, nodes of one process would share a connection.
        ("grpc.use_local_subchannel_pool", 1),
    ]
    if proxy is not None:
        chosen.append(("grpc.http_proxy", f"http://{proxy}"))
    return chosen


def quiet_broken_streams() -> None:
    """Keep gRPC's server from logging a traceback whenever a peer hangs up; `Session` logs who left."""
    logging.getLogger("grpc._cython.cygrpc").addFilter(_is_worth_logging)


def _is_worth_logging(record: logging.LogRecord) -> bool:
    is_broken_stream = record.exc_info is not None and isinstance(record.exc_info[1], grpc.aio.InternalError)
    return record.levelno >= logging.ERROR and not is_broken_stream


def explain(error: grpc.RpcError) -> str:
    """Return why a stream failed: gRPC's message without its repetitions."""
    details: Callable[[], str | None] | None = getattr(error, "details", None)
    text = (details() if details else None) or str(error)
    text = text.rpartition("last error: ")[2] or text
    return printable(_RESOLVING.sub(r"\1", text))
