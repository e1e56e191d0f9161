"""The gRPC connection: the method and options of both ends, how a node dials, why a connection fails."""

import contextlib
import logging
import re
import resource
import socket
import threading
from collections.abc import Callable, Iterator
from typing import Any, Protocol

import grpc
import grpc.aio

from fedmx.errors import SettingsError
from fedmx.log import printable
from fedmx.values import Address

SERVICE, METHOD_NAME = "fedmx.link.Link", "Join"
METHOD = f"/{SERVICE}/{METHOD_NAME}"

_END_TIMEOUT_S = 1.0
_MAX_CONNECTIONS = 2_048
_IDLE_MS = 10_000

Option = tuple[str, int | str]
# What a handler of gRPC's reads is bytes, or EOF; what it writes is bytes.
ServicerContext = grpc.aio.ServicerContext[Any, bytes]

# As in "errors resolving a:1: [field:hostname lookup error:address lookup failed for a:1: no such name]".
_RESOLVING = re.compile(r"errors resolving .*? error:(.*)\]")

# Pings go on while a node trains for minutes and no data flows; neither side counts them against the other
# (gRPC's default answers ENHANCE_YOUR_CALM to such pings). An answer that is late ends no connection, as on a
# slow line it comes behind all data: `silence` finds out who is gone. Without a limit here gRPC 1.85 has none
# for the answers to its bandwidth probes and to its settings either, and TCP_USER_TIMEOUT is three weeks.
KEEPALIVE: tuple[Option, ...] = (
    ("grpc.keepalive_time_ms", 10_000),
    ("grpc.keepalive_timeout_ms", 2**31 - 1),
    ("grpc.keepalive_permit_without_calls", 1),
    ("grpc.http2.max_pings_without_data", 0),
    ("grpc.http2.max_ping_strikes", 0),
    ("grpc.http2.min_ping_interval_without_data_ms", 1_000),
)


class Call(Protocol):
    """A stream as gRPC gives it, without a public name: the frames that come, until it is cancelled."""

    def __iter__(self) -> Iterator[bytes]: ...

    def cancel(self) -> bool:
        """End it from this side."""


def options(frame_bytes: int) -> list[Option]:
    """Give the channel options of either end."""
    return [
        ("grpc.max_receive_message_length", frame_bytes),
        ("grpc.max_send_message_length", frame_bytes),
        *KEEPALIVE,
    ]


def server_options(frame_bytes: int) -> list[Option]:
    """Give the options of a server's port, to which anybody may connect.

    A node has a stream as soon as it is connected: a connection without one is closed after a while. Nor are
    there ever so many connections that the program could open no other file.
    """
    return [
        *options(frame_bytes),
        ("grpc.server_handshake_timeout_ms", _IDLE_MS),
        ("grpc.max_connection_idle_ms", _IDLE_MS),
        ("grpc.max_concurrent_streams", 4),  # of a connection: each node has one of its own
        ("grpc.max_allowed_incoming_connections", _make_room_for_connections()),
    ]


def _make_room_for_connections() -> int:
    """Give how many connections may be open at a time: no more than half of the files that may be."""
    least, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = 2 * _MAX_CONNECTIONS
    if least < wanted:
        least = wanted if most == resource.RLIM_INFINITY else min(wanted, most)
        resource.setrlimit(resource.RLIMIT_NOFILE, (least, most))
    return min(_MAX_CONNECTIONS, least // 2)


def check_listening(address: Address) -> None:
    """Try an address with a plain socket, whose error says what gRPC's does not.

    Raises:
        SettingsError: the address cannot be listened on.
    """
    try:
        found = socket.getaddrinfo(address.host, address.port, type=socket.SOCK_STREAM)
        family, kind, _, _, target = found[0]
        with socket.socket(family, kind) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(target)
    except (OSError, UnicodeError) as error:  # the second of a host that no resolver takes
        cause = getattr(error, "strerror", None) or error
        raise SettingsError(
            f"LISTEN_ADDRESS={address}: {cause}; expected a free address of this machine"
        ) from None


def dial(
    address: Address, frame_bytes: int, proxy: Address | None, credentials: grpc.ChannelCredentials | None
) -> grpc.Channel:
    """Open a channel to a server.

    Args:
        address: the server's.
        frame_bytes: the largest frame.
        proxy: an HTTP proxy; where it is None none is used, whatever the environment says.
        credentials: TLS; None is plain text.
    """
    chosen: list[Option] = [
        *options(frame_bytes),
        ("grpc.enable_http_proxy", int(proxy is not None)),
        ("grpc.use_local_subchannel_pool", 1),  # no connection is shared with another node of this process
    ]
    if proxy is not None:
        chosen.append(("grpc.http_proxy", f"http://{proxy}"))
    if credentials is None:
        return grpc.insecure_channel(str(address), chosen)
    return grpc.secure_channel(str(address), credentials, chosen)


def cancel_after(seconds: float, call: Call) -> threading.Timer:
    """Cancel a call unless the timer is cancelled before."""
    timer = threading.Timer(seconds, call.cancel)
    timer.daemon = True
    timer.start()
    return timer


def let_end(call: Call) -> None:
    """Let the server end a stream after its goodbye; hanging up on it would break the stream instead."""
    timer = cancel_after(_END_TIMEOUT_S, call)
    with contextlib.suppress(grpc.RpcError):
        for _ in call:
            pass
    timer.cancel()


def quiet_broken_streams() -> None:
    """Keep gRPC's server from reporting, with a traceback, that a peer hung up: the roster tells of it."""
    logging.getLogger("grpc._cython.cygrpc").addFilter(_is_no_broken_stream)


def _is_no_broken_stream(record: logging.LogRecord) -> bool:
    is_of_grpc = record.exc_info is not None and isinstance(record.exc_info[1], grpc.aio.InternalError)
    return record.levelno >= logging.ERROR and not is_of_grpc


def explain(error: grpc.RpcError) -> str:
    """Say why a stream failed, in gRPC's own words without their repetitions."""
    details: Callable[[], str | None] | None = getattr(error, "details", None)
    text = (details() if details else None) or str(error)
    text = text.rpartition("last error: ")[2] or text
    return printable(_RESOLVING.sub(r"\1", text))
