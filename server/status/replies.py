"""Response bodies, built on another thread at most once a second, however many clients request them."""

import asyncio
import contextlib
import gzip
import hashlib
import math
from collections.abc import Callable, Hashable
from concurrent.futures import Executor
from dataclasses import dataclass

from starlette.requests import Request
from starlette.responses import Response

_SMALLEST_COMPRESSED = 1_000
# Higher levels take much more time and gain little.
_GZIP_LEVEL = 4
JSON = "application/json"
OLD_S = 1.0
"""How old a body may get before it is built again."""
# How long after a request a page may still be open.
_WATCHED_S = 5.0


@dataclass(frozen=True)
class Body:
    """A body, in both encodings.

    Attributes:
        content: the bytes.
        compressed: the same with gzip; None if the content is short.
        etag: changes with the content.
        media_type: of the content.
        is_final: whether a run that has ended is described.
    """

    content: bytes
    compressed: bytes | None
    etag: str
    media_type: str
    is_final: bool = False

    @classmethod
    def build(
        cls, content: bytes, media_type: str, *, version: bytes | None = None, is_final: bool = False
    ) -> "Body":
        """Build a body, with the compressed content.

        Args:
            content: the bytes.
            media_type: of the content.
            version: determines the ETag; the content if None.
            is_final: whether a run that has ended is described.
        """
        compressed = gzip.compress(content, _GZIP_LEVEL) if len(content) >= _SMALLEST_COMPRESSED else None
        digest = hashlib.sha256(content if version is None else version).hexdigest()[:20]
        # Both encodings have the same ETag, which therefore must be weak.
        return cls(content, compressed, f'W/"{digest}"', media_type, is_final)

    def reply_to(self, request: Request, **headers: str) -> Response:
        """Return the response, without content if the client has it already."""
        common = {"ETag": self.etag, "Cache-Control": "no-cache", "Vary": "Accept-Encoding", **headers}
        if _has_tag(request.headers.get("if-none-match", ""), self.etag):
            return Response(status_code=304, headers=common)
        if self.compressed is None or not _accepts_gzip(request.headers.get("accept-encoding", "")):
            return Response(self.content, headers=common, media_type=self.media_type)
        common["Content-Encoding"] = "gzip"
        return Response(self.compressed, headers=common, media_type=self.media_type)


class Cached:
    """A body that is built on a thread, and rebuilt only if it is old or its key has changed.

    Args:
        build: returns it.
        executor: the thread.
    """

    def __init__(self, build: Callable[[], Body], executor: Executor) -> None:
        self._build = build
        self._executor = executor
        self._lock = asyncio.Lock()
        self._body: Body | None = None
        self._built = -math.inf
        self._key: Hashable = None

    async def get(self, key: Hashable = None, *, age_s: float = OLD_S) -> Body:
        """Return it; build it first if there is none or it is too old.

        Args:
            key: of what it describes; a body of another key is not sent.
            age_s: how old it may be.
        """
        # All clients that wait for a build get its result. Those that accept the old body do not wait.
        if self._is_usable(key, age_s):
            return self._body  # type: ignore[return-value]
        async with self._lock:
            if not self._is_usable(key, age_s):
                loop = asyncio.get_running_loop()
                self._body = await loop.run_in_executor(self._executor, self._build)
                self._built = loop.time()
                self._key = key
            return self._body  # type: ignore[return-value]

    def _is_usable(self, key: Hashable, age_s: float) -> bool:
        age = asyncio.get_running_loop().time() - self._built
        return self._body is not None and key == self._key and age <= age_s


class Watched:
    """A body that takes long to build, and that pages request every second or two.

    While it is requested, it is rebuilt once a second in the background, so requests do not wait.

    Args:
        cached: the body.
    """

    def __init__(self, cached: Cached) -> None:
        self._cached = cached
        self._asked = -math.inf
        self._renewing: asyncio.Task[None] | None = None
        self._key: Hashable = None

    async def get(self, key: Hashable) -> Body:
        """Return it. Only the first request waits, and the first one with another key."""
        self._asked = asyncio.get_running_loop().time()
        self._key = key
        body = await self._cached.get(key, age_s=_WATCHED_S)
        if self._renewing is None or self._renewing.done():
            self._renewing = asyncio.create_task(self._renew())
        return body

    async def _renew(self) -> None:
        loop = asyncio.get_running_loop()
        # A failure here recurs in the next request, which reports it.
        with contextlib.suppress(Exception):
            while loop.time() - self._asked < _WATCHED_S:
                await asyncio.sleep(OLD_S)
                await self._cached.get(self._key)


def _has_tag(header: str, etag: str) -> bool:
    tags = {tag.strip().removeprefix("W/") for tag in header.split(",")}
    return "*" in tags or etag.removeprefix("W/") in tags


def _accepts_gzip(header: str) -> bool:
    accepted = {coding.strip().replace(" ", "").lower() for coding in header.split(",")}
    return any(coding.split(";")[0] == "gzip" and not coding.endswith(";q=0") for coding in accepted)
