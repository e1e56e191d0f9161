"""Requests to a status server, with every header under control; and its coroutines."""

import asyncio
import gzip
import http.client
import json
import time
from collections.abc import Callable, Coroutine, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from tests.bounds import HANG_S


@dataclass(frozen=True)
class Answer:
    """A response. Header names are in lower case."""

    status: int
    headers: Mapping[str, str]
    sent: bytes

    @property
    def text(self) -> str:
        is_compressed = self.headers.get("content-encoding") == "gzip"
        return (gzip.decompress(self.sent) if is_compressed else self.sent).decode()

    @property
    def json(self) -> Any:
        return json.loads(self.text)


def fetch(url: str, path: str = "/", method: str = "GET", **headers: str) -> Answer:
    """Send one request. An underscore in a header's name stands for a hyphen; Host may be given."""
    parts = urlsplit(url)
    connection = http.client.HTTPConnection(str(parts.hostname), parts.port, timeout=HANG_S)
    try:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        connection.request(method, path, headers=named)
        response = connection.getresponse()
        found = {name.lower(): value for name, value in response.getheaders()}
        return Answer(response.status, found, response.read())
    finally:
        connection.close()


def read_metrics(url: str) -> dict[str, float]:
    """Return the samples of /metrics by name and labels."""
    lines = [line for line in fetch(url, "/metrics").text.splitlines() if not line.startswith("#")]
    return {name: float(value) for name, _, value in (line.rpartition(" ") for line in lines)}


def wait_until(is_so: Callable[[], Any]) -> None:
    """Wait until a server has shown what it was notified of."""
    deadline = time.monotonic() + HANG_S
    while not is_so():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def run_coroutine(coroutine: Coroutine[Any, Any, None]) -> None:
    """Run a coroutine on a thread: on the main thread, the browser of other tests has an event loop."""
    with ThreadPoolExecutor(1) as executor:
        executor.submit(asyncio.run, coroutine).result()
