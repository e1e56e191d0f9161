"""Turns: a few streams at a time carry a message, and a slow one does not keep the others waiting."""

import asyncio
from collections.abc import Awaitable, Callable
from functools import partial

import numpy as np
import pytest
from flwr.app import RecordDict

from fedmx import arrays
from fedmx.link import turns
from fedmx.link.loan import Loan
from fedmx.link.progress import Progress
from fedmx.link.turns import Turns, must_wait
from fedmx.protocol.encode import WAITING_CHUNK_BYTES
from tests.bounds import HANG_S
from tests.fedmx.link.loopback import Hub, Worker, change
from tests.fedmx.protocol.wire import pack


def run(act: Callable[[], Awaitable[None]]) -> None:
    asyncio.run(asyncio.wait_for(act(), HANG_S))


def test_turns_are_taken_in_order_and_given_back() -> None:
    async def act() -> None:
        turns = Turns(places=2, patience_s=HANG_S)
        seen: list[int] = []
        most = 0
        holders = 0

        async def work(number: int) -> None:
            nonlocal most, holders
            async with turns.take():
                holders += 1
                most = max(most, holders)
                seen.append(number)
                await asyncio.sleep(0)
                holders -= 1

        await asyncio.gather(*(work(number) for number in range(10)))
        assert seen == list(range(10))
        assert most == 2

    run(act)


def test_a_turn_that_takes_long_no_longer_counts() -> None:
    async def act() -> None:
        turns = Turns(places=1, patience_s=0.01)
        is_over = asyncio.Event()

        async def work_slowly() -> None:
            async with turns.take():
                await is_over.wait()

        slow = asyncio.create_task(work_slowly())
        await asyncio.sleep(0)
        # Each waits for the turn before to have taken too long, and its end frees no second place.
        for _ in range(3):
            async with turns.take():
                assert not slow.done()
        is_over.set()
        await slow
        async with turns.take():
            waiting = asyncio.create_task(work_slowly())
            await asyncio.sleep(0)
            assert turns._free.locked()
        await waiting

    run(act)


def test_a_turn_is_given_back_when_its_stream_ends() -> None:
    async def act() -> None:
        turns = Turns(places=1, patience_s=HANG_S)

        async def work() -> None:
            async with turns.take():
                await asyncio.Event().wait()

        working = asyncio.create_task(work())
        await asyncio.sleep(0)
        working.cancel()
        async with turns.take():
            pass

    run(act)


def test_a_reply_that_is_over_before_its_turn_comes_has_none() -> None:
    async def act() -> None:
        turns = Turns(places=1, patience_s=HANG_S)
        progress = Progress(("192.0.2.1", 5000), HANG_S)
        went: list[tuple[str, int]] = []
        first, second = (Loan(turns, progress, partial(note, went, name)) for name in ("first", "second"))
        first.note(100)
        await asyncio.sleep(0)
        second.note(100)
        await asyncio.sleep(0)
        assert (went, progress.is_held) == ([("first", 1)], True)
        second.end()
        first.end()
        async with turns.take():
            assert (went, progress.is_held) == ([("first", 1)], False)

    run(act)


def test_a_reply_has_one_chunk_at_a_time_on_its_way_and_more_once_it_takes_long() -> None:
    async def act() -> None:
        allowed: asyncio.Queue[int] = asyncio.Queue()
        progress = Progress(("192.0.2.1", 5000), HANG_S)
        loan = Loan(Turns(places=1, patience_s=0.05), progress, allowed.put_nowait)
        sizes = [WAITING_CHUNK_BYTES] * 11 + [1]
        loan.note(sum(sizes))
        assert await allowed.get() == 1
        loan.note(sum(sizes[1:]))
        assert await allowed.get() == 1
        # One is on its way; seven follow without another that arrives.
        assert await allowed.get() == 7
        for place in range(2, len(sizes) + 1):
            loan.note(sum(sizes[place:]))
        rest = [allowed.get_nowait() for _ in range(allowed.qsize())]
        assert rest == [1, 1, 1]

    run(act)


def test_replies_wait_where_together_they_would_take_much_memory() -> None:
    mb = 1_000_000
    assert [must_wait(count, 0) for count in (1, 10_000)] == [False, False]
    assert [must_wait(count, mb) for count in (2, 67, 68)] == [False, False, True]
    assert [must_wait(count, 1000 * mb) for count in (8, 9)] == [False, True]


def note(went: list[tuple[str, int]], name: str, chunks: int) -> None:
    went.append((name, chunks))


def test_replies_that_wait_for_their_turn_arrive_whole(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(turns, "_MOST_ON_THEIR_WAY", 1)
    count = 20
    names = [f"node-{number}" for number in range(count)]
    for name in names:
        hub.start(name, Worker(change))
    content = RecordDict({"arrays": pack({"a": np.full(1_000_001, 7, np.uint8), "b": np.arange(3.0)})})
    replies = hub.ask(*(hub.message(content, name) for name in names))
    assert len(replies) == count
    for reply in replies:
        record = reply.content.array_records["arrays"]
        assert np.unique(arrays.view(record["a"])).tolist() == [8]
        assert arrays.view(record["b"]).tolist() == [1.0, 2.0, 3.0]
    # The next ones are smaller than a chunk.
    assert len(hub.ask(*(hub.message(name=name, number=2) for name in names))) == count
