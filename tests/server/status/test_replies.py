"""When a body is built again, and who waits for it."""

import asyncio
import threading
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import pytest

from server.status import replies
from server.status.json_text import encode
from server.status.replies import Body, Cached, Watched
from tests.server.status.web import run_coroutine


class Source:
    """Builds numbered bodies, and fails after it was told to.

    Attributes:
        built: how many.
        fails: whether the next one fails.
        is_building: is set when one is asked for.
        may_build: is waited for.
    """

    def __init__(self) -> None:
        self.built = 0
        self.fails = False
        self.is_building = threading.Event()
        self.may_build = threading.Event()
        self.may_build.set()

    def build(self) -> Body:
        self.is_building.set()
        self.may_build.wait()
        if self.fails:
            raise ZeroDivisionError
        self.built += 1
        return Body.build(str(self.built).encode(), "text/plain")


def run(use: Callable[[Source, Cached], Awaitable[None]]) -> None:
    source = Source()
    with ThreadPoolExecutor(1) as executor:

        async def start() -> None:
            await use(source, Cached(source.build, executor))

        run_coroutine(start())


def test_all_who_ask_at_once_get_the_same_body() -> None:
    async def use(source: Source, cached: Cached) -> None:
        bodies = await asyncio.gather(*(cached.get("running") for _ in range(50)))
        assert {body.content for body in bodies} == {b"1"}
        assert source.built == 1

    run(use)


def test_a_body_of_another_key_is_never_sent() -> None:
    async def use(_: Source, cached: Cached) -> None:
        assert (await cached.get("running")).content == b"1"
        assert (await cached.get("finished")).content == b"2"

    run(use)


def test_a_body_that_is_too_old_is_built_again() -> None:
    async def use(_: Source, cached: Cached) -> None:
        assert [(await cached.get(age_s=-1.0)).content for _ in range(3)] == [b"1", b"2", b"3"]
        assert (await cached.get(age_s=1e6)).content == b"3"

    run(use)


def test_who_has_a_body_does_not_wait_for_the_next() -> None:
    async def use(source: Source, cached: Cached) -> None:
        await cached.get()
        source.is_building.clear()
        source.may_build.clear()
        next_one = asyncio.create_task(cached.get(age_s=-1.0))
        await asyncio.to_thread(source.is_building.wait)
        assert (await cached.get(age_s=1e6)).content == b"1"
        source.may_build.set()
        assert (await next_one).content == b"2"

    run(use)


def test_a_watched_body_is_kept_fresh_as_long_as_it_is_requested(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(replies, "OLD_S", 0.0)

    async def use(source: Source, cached: Cached) -> None:
        watched = Watched(cached)
        monkeypatch.setattr(cached, "get", partial(cached.get, age_s=-1.0))
        await watched.get("running")
        renewing = watched._renewing
        assert renewing is not None
        while source.built < 5:
            await asyncio.to_thread(source.is_building.wait)
            source.is_building.clear()
        monkeypatch.setattr(replies, "_WATCHED_S", 0.0)
        await renewing

    run(use)


def test_a_failure_reaches_the_next_who_asks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(replies, "_WATCHED_S", -1.0)

    async def use(source: Source, cached: Cached) -> None:
        watched = Watched(cached)
        await watched.get("running")
        source.fails = True
        for _ in range(3):
            with pytest.raises(ZeroDivisionError):
                await watched.get("running")

    run(use)


def test_numbers_that_json_does_not_have_become_null() -> None:
    assert (
        encode({"a": [float("nan"), 1.5], "b": float("inf"), "c": "x"}) == '{"a":[null,1.5],"b":null,"c":"x"}'
    )
