"""What the status server sends: built on another thread, at most once a second however many ask for it."""

import asyncio
import contextlib
import gzip
import hashlib
import json
import math
from collections.abc import Callable, Hashable
from concurrent.futures import Executor
from dataclasses import dataclass
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

_SMALLEST_COMPRESSED = 1_000
# Above it, little is gained for much more time.
_GZIP_LEVEL = 4
JSON = "application/json"
OLD_S = 1.0
"""A body that is older is built again."""
# For so long after somebody has asked, a page may still be open.
_WATCHED_S = 5.0


@dataclass(frozen=True)
class Body:
    """A body, in both encodings.

    Attributes:
        content: the bytes.
        compressed: the same by gzip; None if they are too few.
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
        """Compress a content.

        Args:
            content: the bytes.
            media_type: of the content.
            version: what the ETag depends on; the content if None.
            is_final: whether a run that has ended is described.
        """
        compressed = gzip.compress(content, _GZIP_LEVEL) if len(content) >= _SMALLEST_COMPRESSED else None
        digest = hashlib.sha256(content if version is None else version).hexdigest()[:20]
        # A weak one, since both encodings have it.
        return cls(content, compressed, f'W/"{digest}"', media_type, is_final)

    def reply_to(self, request: Request, **headers: str) -> Response:
        """Return the response, which has no content if the client has it already."""
        common = {"ETag": self.etag, "Cache-Control": "no-cache", "Vary": "Accept-Encoding", **headers}
        if _has_tag(request.headers.get("if-none-match", ""), self.etag):
            return Response(status_code=304, headers=common)
        if self.compressed is None or not _accepts_gzip(request.headers.get("accept-encoding", "")):
            return Response(self.content, headers=common, media_type=self.media_type)
        common["Content-Encoding"] = "gzip"
        return Response(self.compressed, headers=common, media_type=self.media_type)


class Cached:
    """A body that is built on a thread, and again only once it is old or its key has changed.

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
        """Return it, after building it if there is none or it is too old.

        Args:
            key: of what it describes; a body of another key is not sent.
            age_s: how old it may be.
        """
        # All who wait for a body that is being built get that one. Who may have the old one does not wait.
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
    """A body that takes long to build, and that pages ask for every second or two.

    As long as somebody asks, it is built once a second, so that nobody waits for it.

    Args:
        cached: the body.
    """

    def __init__(self, cached: Cached) -> None:
        self._cached = cached
        self._asked = -math.inf
        self._renewing: asyncio.Task[None] | None = None
        self._key: Hashable = None

    async def get(self, key: Hashable) -> Body:
        """Return it; only the first who asks has to wait, or who is the first to ask with another key."""
        self._asked = asyncio.get_running_loop().time()
        self._key = key
        body = await self._cached.get(key, age_s=_WATCHED_S)
        if self._renewing is None or self._renewing.done():
            self._renewing = asyncio.create_task(self._renew())
        return body

    async def _renew(self) -> None:
        loop = asyncio.get_running_loop()
        # What fails here fails for the next who asks, too, and is reported then.
        with contextlib.suppress(Exception):
            while loop.time() - self._asked < _WATCHED_S:
                await asyncio.sleep(OLD_S)
                await self._cached.get(self._key)


def encode(value: Any) -> str:
    """Encode a value as JSON, which has no numbers that are not finite: they become null."""
    try:
        return json.dumps(value, allow_nan=False, separators=(",", ":"), default=str)
    except ValueError:
        return json.dumps(_make_finite(value), separators=(",", ":"), default=str)


def _make_finite(value: Any) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {name: _make_finite(entry) for name, entry in value.items()}
    if isinstance(value, list | tuple):
        return [_make_finite(entry) for entry in value]
    return value


def _has_tag(header: str, etag: str) -> bool:
    tags = {tag.strip().removeprefix("W/") for tag in header.split(",")}
    return "*" in tags or etag.removeprefix("W/") in tags


def _accepts_gzip(header: str) -> bool:
    accepted = {coding.strip().replace(" ", "").lower() for coding in header.split(",")}
    return any(coding.split(";")[0] == "gzip" and not coding.endswith(";q=0") for coding in accepted)
