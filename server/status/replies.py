"""What the status server sends: built on another thread, at most once a second however many ask for it."""

import asyncio
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
        age_s: how old it may be.
    """

    def __init__(self, build: Callable[[], Body], executor: Executor, age_s: float = 1.0) -> None:
        self._build = build
        self._executor = executor
        self._age_s = age_s
        self._lock = asyncio.Lock()
        self._body: Body | None = None
        self._built = -math.inf
        self._key: Hashable = None

    async def get(self, key: Hashable = None) -> Body:
        """Return it, after building it if that is due.

        Args:
            key: of what it describes.
        """
        # All who wait for a body that is being built get that one.
        async with self._lock:
            loop = asyncio.get_running_loop()
            if self._body is None or key != self._key or loop.time() - self._built > self._age_s:
                self._body = await loop.run_in_executor(self._executor, self._build)
                self._built = loop.time()
                self._key = key
            return self._body


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
