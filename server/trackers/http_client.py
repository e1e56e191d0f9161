"""HTTP requests to the servers that settings name: a tracker or a webhook.

Errors name only the server's host and port: an address may contain a password, and the path of a webhook is
a secret. Redirects are not followed, since they could send a password or a model to another host. HTTP_PROXY,
HTTPS_PROXY and NO_PROXY are respected: a hospital's server often reaches the outside only through a proxy.
"""

import base64
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from http.client import HTTPException
from typing import IO
from urllib.error import HTTPError, URLError
from urllib.parse import unquote, urlsplit, urlunsplit
from urllib.request import HTTPRedirectHandler, OpenerDirector, Request, build_opener

from fedmx import __version__
from fedmx.log import printable
from server.reporting.reporter import ReporterError

# Longer answers are cut off. None that is parsed here gets that long.
_MOST_BYTES = 16 * 2**20
_BLOCK = 64 * 2**10


class RequestError(ReporterError):
    """A request failed.

    Attributes:
        status: of the answer; None if there was none.
        body: of the answer.
    """

    def __init__(self, reason: str, status: int | None = None, body: bytes = b"") -> None:
        super().__init__(reason)
        self.status = status
        self.body = body


@dataclass(frozen=True)
class WebAddress:
    """The address of a server, with credentials.

    Attributes:
        url: without user name and password.
        headers: sent with each request.
    """

    url: str
    headers: Mapping[str, str] = field(repr=False)

    @classmethod
    def parse(cls, text: str) -> "WebAddress":
        """Move a user name and a password from a URL to a header."""
        parts = urlsplit(text)
        userinfo, at, host = parts.netloc.rpartition("@")
        url = urlunsplit(parts._replace(netloc=host)).rstrip("/")
        if not at:
            return cls(url, {})
        user, _, password = userinfo.partition(":")
        return cls(url, basic_authorization(unquote(user), unquote(password)))

    @property
    def shown(self) -> str:
        """Its scheme, host and port, without secrets."""
        parts = urlsplit(self.url)
        return f"{parts.scheme}://{parts.netloc}"


def basic_authorization(user: str, password: str) -> dict[str, str]:
    """Return the header that authenticates with a user name and a password."""
    return {"Authorization": "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()}


@dataclass(frozen=True)
class Call:
    """A request, without the address of its server.

    Attributes:
        method: such as POST.
        path: appended to the address, with a query.
        body: its content; a file needs a `Content-Length` among the headers.
        headers: those of this request.
    """

    method: str
    path: str = ""
    body: bytes | IO[bytes] | None = None
    headers: Mapping[str, str] = field(default_factory=dict)


def send(address: WebAddress, call: Call, limit_s: float) -> bytes:
    """Send a request and return the body of its answer.

    Args:
        address: where to send it.
        call: the request.
        limit_s: how long to wait for the connection, for each part of the answer, and for all of it.

    Raises:
        RequestError: there is no answer, or its status is not 2xx.
    """
    request = Request(  # noqa: S310 - settings accept http and https alone
        address.url + call.path,
        data=call.body,
        headers={"User-Agent": f"fedmx/{__version__}", **address.headers, **call.headers},
        method=call.method,
    )
    deadline = time.monotonic() + limit_s
    try:
        with build_cached_opener().open(request, timeout=limit_s) as answer:
            return _read(answer, deadline)
    except HTTPError as error:
        with error:
            reason = f"{address.shown}: HTTP {error.code} {printable(error.reason or '')}".rstrip()
            raise RequestError(reason, error.code, _read_quietly(error, deadline)) from None
    except URLError as error:
        raise RequestError(f"{address.shown}: {_explain(error.reason, limit_s)}") from None
    except (OSError, HTTPException, ValueError) as error:
        raise RequestError(f"{address.shown}: {_explain(error, limit_s)}") from None


class _NoRedirects(HTTPRedirectHandler):
    """Treats a redirect as an error."""

    def redirect_request(self, *_: object) -> None:
        """Return no further request."""
        return


@cache
def build_cached_opener() -> OpenerDirector:
    """Return an opener, which is cached: building it may read all of the system's authorities."""
    return build_opener(_NoRedirects)


def _read(answer: IO[bytes], deadline: float) -> bytes:
    """Read a body.

    Raises:
        TimeoutError: it did not arrive completely in time.
    """
    blocks = bytearray()
    while len(blocks) < _MOST_BYTES and (block := answer.read1(_BLOCK)):  # type: ignore[attr-defined]
        blocks += block
        if time.monotonic() > deadline:
            raise TimeoutError
    return bytes(blocks)


def _read_quietly(answer: IO[bytes], deadline: float) -> bytes:
    """Read the body of an error; return nothing if that fails, too."""
    try:
        return _read(answer, deadline)
    except (OSError, HTTPException):
        return b""


def _explain(reason: object, limit_s: float) -> str:
    if isinstance(reason, TimeoutError):
        return f"no answer within {limit_s:g} s"
    if isinstance(reason, OSError) and reason.strerror:
        return reason.strerror
    return printable(str(reason) or type(reason).__name__)
