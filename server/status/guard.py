"""Checks and headers for every request to the status server: rate, method, host name."""

import asyncio
from collections.abc import Awaitable, Callable

import h11
from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from fedmx.log import warn
from server.status.hosts import HostNames

_METHODS = ("GET", "HEAD")
# For responses that are not pages.
_NOTHING_ALLOWED = "default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
_HEADERS = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": _NOTHING_ALLOWED,
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}
# A page asks about once a second. Python runs one thread at a time, so each request takes time from the run.
_PER_SECOND = 100
_AT_ONCE = 50


class Rate:
    """Limits how many requests are served per second; the others wait for their turn.

    Args:
        sleep: waits for a number of seconds.
    """

    def __init__(self, sleep: Callable[[float], Awaitable[None]] = asyncio.sleep) -> None:
        self._sleep = sleep
        # When the next request is due, in the loop's seconds.
        self._due = 0.0

    async def wait(self) -> None:
        """Wait until a request may be served."""
        now = asyncio.get_running_loop().time()
        due = max(self._due, now - _AT_ONCE / _PER_SECOND)
        self._due = due + 1 / _PER_SECOND
        if due > now:
            await self._sleep(due - now)


class Guard:
    """Limits the rate of requests, refuses invalid ones, and adds headers to all responses.

    Args:
        app: serves the requests that are valid.
        hosts: the names of this server.
    """

    def __init__(self, app: ASGIApp, hosts: HostNames) -> None:
        self._app = app
        self._hosts = hosts
        self._rate = Rate()
        self._has_failed = False

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in _HEADERS.items():
                    headers.setdefault(name, value)
            await send(message)

        await self._rate.wait()
        app = self._find_refusal(scope) or self._app
        try:
            await app(scope, receive, send_with_headers)
        # The client sent bytes that are not a request during the response, and uvicorn answered those.
        except h11.LocalProtocolError:
            return
        except Exception as error:  # noqa: BLE001 - what watches a run must not end it
            if not self._has_failed:
                self._has_failed = True
                warn("status page failed", path=scope["path"], reason=repr(error))
            # If part of the response was sent already, uvicorn closes the connection.
            await PlainTextResponse("the server failed, its log shows why\n", 500)(
                scope, receive, send_with_headers
            )

    def _find_refusal(self, scope: Scope) -> PlainTextResponse | None:
        headers = Headers(scope=scope)
        if problem := self._hosts.find_problem(headers.getlist("host")):
            return PlainTextResponse(f"{problem}\n", 403)
        if scope["method"] not in _METHODS:
            expected = " or ".join(_METHODS)
            return PlainTextResponse(f"expected {expected}\n", 405, {"Allow": ", ".join(_METHODS)})
        return None
