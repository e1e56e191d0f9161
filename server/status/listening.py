"""The socket and the thread of the status server, and limits for its clients.

uvicorn runs in an event loop on a thread of its own. Slow clients, or many of them, cost the run no more than
some connections and the time to build a body once a second.
"""

import asyncio
import logging
import socket
import threading
from typing import Any

import uvicorn
from starlette.types import ASGIApp
from uvicorn.protocols.http.h11_impl import H11Protocol

from fedmx.errors import SettingsError
from fedmx.values import Address

# File descriptors are limited, and the link needs some, too.
_MOST_CONNECTIONS = 64
_LONGEST_HEADERS = 16_384
# A browser on a busy machine may ask late, and reports a connection that ends meanwhile as an error.
_IDLE_S = 30
# How long a response may take to arrive at a slow reader.
_PATIENCE_S = 60.0
_START_TIMEOUT_S = 30.0
_STOP_TIMEOUT_S = 1


class _Connection(H11Protocol):
    """A connection that ends if it takes too long, or if there are too many."""

    _deadline: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Accept it, and limit the time until the first response is complete."""
        super().connection_made(transport)
        if len(self.connections) > _MOST_CONNECTIONS:
            transport.abort()
        else:
            self._postpone()

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget it."""
        super().connection_lost(exc)
        if self._deadline:
            self._deadline.cancel()

    def data_received(self, data: bytes) -> None:
        """Parse bytes that arrived. If h11 rejects them, the connection ends without a line in the log."""
        try:
            super().data_received(data)
        except Exception:  # noqa: BLE001 - anyone may send anything
            self.transport.abort()

    def on_response_complete(self) -> None:
        """Allow the same time for the next response."""
        self._postpone()
        super().on_response_complete()

    def _postpone(self) -> None:
        if self._deadline:
            self._deadline.cancel()
        self._deadline = self.loop.call_later(_PATIENCE_S, self.transport.abort)


class Listener:
    """Listens on an address from its construction on, and serves once it is started.

    Args:
        address: STATUS_ADDRESS; port 0 chooses a free one.

    Attributes:
        address: where it listens.

    Raises:
        SettingsError: the address cannot be listened on.
    """

    def __init__(self, address: Address) -> None:
        try:
            self._socket = _bind(address)
        except (OSError, UnicodeError) as error:
            # UnicodeError: the host is not a name that can be looked up.
            cause = getattr(error, "strerror", None) or error
            raise SettingsError(
                f"STATUS_ADDRESS={address}: cannot listen: {cause}; expected a free address of this machine,"
                " or off"
            ) from None
        self.address = Address(address.host, self._socket.getsockname()[1])
        self._thread = threading.Thread(target=self._serve, name="status", daemon=True)
        self._has_started = threading.Event()
        self._server: uvicorn.Server

    def start(self, app: ASGIApp) -> None:
        """Serve an app on a thread."""
        settings: dict[str, Any] = {
            "http": _Connection,
            "loop": "asyncio",
            "ws": "none",
            "lifespan": "off",
            "interface": "asgi3",
            # uvicorn must not log what anyone can send.
            "log_config": None,
            "log_level": logging.CRITICAL + 1,
            "access_log": False,
            "server_header": False,
            "proxy_headers": False,
            "backlog": _MOST_CONNECTIONS,
            "h11_max_incomplete_event_size": _LONGEST_HEADERS,
            "timeout_keep_alive": _IDLE_S,
            "timeout_graceful_shutdown": _STOP_TIMEOUT_S,
        }
        self._server = uvicorn.Server(uvicorn.Config(app, **settings))
        self._thread.start()
        self._has_started.wait(_START_TIMEOUT_S)

    def stop(self) -> None:
        """Stop listening, and close all connections."""
        if self._thread.ident is None:
            self._socket.close()
            return
        self._server.should_exit = True
        self._thread.join(2 * _STOP_TIMEOUT_S)

    def _serve(self) -> None:
        asyncio.run(self._run())

    async def _run(self) -> None:
        asyncio.get_running_loop().call_soon(self._has_started.set)
        # Outside the main thread, uvicorn installs no signal handlers.
        await self._server.serve(sockets=[self._socket])


def _bind(address: Address) -> socket.socket:
    family, kind, protocol, _, target = socket.getaddrinfo(
        address.host, address.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
    )[0]
    listening = socket.socket(family, kind, protocol)
    try:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind(target)
        # With SO_REUSEADDR, `bind` may succeed although another program uses the port; `listen` then fails.
        listening.listen(_MOST_CONNECTIONS)
    except OSError:
        listening.close()
        raise
    return listening
