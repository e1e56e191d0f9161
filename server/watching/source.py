"""Reads the status document of a server over HTTP."""

import http.client
import json
import os
import urllib.error
import urllib.request
from email.message import Message
from typing import IO
from urllib.parse import SplitResult, urlsplit

from fedmx import __version__
from fedmx.errors import SettingsError
from fedmx.log import printable
from fedmx.parsing import parse_ip
from server.watching.snapshot import Snapshot, parse_text

_TIMEOUT_S = 10.0
_MOST_BYTES = 64 * 1024**2
_LONGEST_REASON = 200
_NOT_MODIFIED = 304


class NoStatusError(Exception):
    """Nothing answered, or not a status page; the message is the reason."""


class StatusPage:
    """The status page of a server.

    Args:
        url: of the page, with or without `http://`.

    Attributes:
        url: the same, complete.

    Raises:
        SettingsError: it is not a URL.
    """

    def __init__(self, url: str) -> None:
        parts = _parse(url)
        self.url = f"{parts.scheme}://{parts.netloc}{parts.path.rstrip('/')}/"
        self._open = urllib.request.build_opener(*_choose_handlers(parts)).open
        # At its end, the server waits for each watcher, which it recognizes by this header.
        self._headers = {"User-Agent": f"fedmx/{__version__} ({os.getpid()})"}
        self._tag = ""
        self._newest: Snapshot | None = None

    def read(self) -> Snapshot:
        """Return the run at this moment.

        Raises:
            NoStatusError: it cannot be read.
        """
        request = urllib.request.Request(f"{self.url}status.json", headers=self._headers)  # noqa: S310 - the scheme was checked
        if self._newest is not None and self._tag:
            request.add_header("If-None-Match", self._tag)
        try:
            with self._open(request, timeout=_TIMEOUT_S) as response:
                text = response.read(_MOST_BYTES + 1)
                self._tag = response.headers.get("ETag", "")
        except urllib.error.HTTPError as error:
            with error:
                if error.code == _NOT_MODIFIED and self._newest is not None:
                    return self._newest
                raise NoStatusError(_describe_response(error)) from None
        except (OSError, http.client.HTTPException) as error:
            raise NoStatusError(_describe(error)) from None
        if len(text) > _MOST_BYTES:
            raise NoStatusError(f"the answer has more than {_MOST_BYTES} bytes")
        try:
            self._newest = parse_text(text)
        except json.JSONDecodeError:
            raise NoStatusError("the answer is not the status of a run") from None
        except ValueError as error:
            raise NoStatusError(f"the answer is not the status of a run: {error}") from None
        return self._newest


def _parse(url: str) -> SplitResult:
    try:
        parts = urlsplit(url if "://" in url else f"http://{url}")
        is_valid = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
        has_user = "@" in (parts.netloc if is_valid else url)
    except ValueError:
        is_valid = False
        has_user = "@" in url
    # The URL is not named: it may contain a password.
    if has_user:
        raise SettingsError(
            "URL with a user name or password: the page has neither; expected one such as"
            " http://127.0.0.1:8081/"
        )
    if not is_valid or not url.isprintable() or " " in url:
        raise SettingsError(f"{printable(url)}: not a URL; expected one such as http://127.0.0.1:8081/")
    return parts


class _NoRedirects(urllib.request.HTTPRedirectHandler):
    """Treats a redirect as an error: a status page does not redirect."""

    def redirect_request(  # noqa: PLR0913, PLR0917 - as the library calls it
        self, req: urllib.request.Request, fp: IO[bytes], code: int, msg: str, headers: Message, newurl: str
    ) -> None:
        """Follow no redirect: the response is an error."""


def _choose_handlers(parts: SplitResult) -> list[urllib.request.BaseHandler]:
    host = parts.hostname or ""
    address = parse_ip(host)
    is_loopback = address.is_loopback if address else host == "localhost" or host.endswith(".localhost")
    # A proxy cannot reach this machine's own addresses.
    own = [urllib.request.ProxyHandler({})] if is_loopback else []
    return [_NoRedirects(), *own]


def _describe_response(error: urllib.error.HTTPError) -> str:
    """Describe an error response, with the first line of its body, which has the server's reason."""
    try:
        first = error.read(_LONGEST_REASON).decode(errors="replace").partition("\n")[0]
    except (OSError, http.client.HTTPException):
        first = ""
    return f"HTTP {error.code}" + (f": {printable(first.strip(), _LONGEST_REASON)}" if first.strip() else "")


def _describe(error: Exception) -> str:
    reason = getattr(error, "reason", None) or error
    return printable(
        getattr(reason, "strerror", None) or str(reason) or type(reason).__name__, _LONGEST_REASON
    )
