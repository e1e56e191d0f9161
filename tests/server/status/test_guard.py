"""How many requests are served per second."""

import asyncio

import pytest

from server.status import guard
from server.status.guard import Rate
from tests.server.status.web import run_coroutine


def list_delays(number: int, monkeypatch: pytest.MonkeyPatch, *, idle_s: float = 0.0) -> list[float]:
    """Let requests come at once, after a server was idle, and return how long each one waits."""
    delays: list[float] = []
    now = 1_000.0

    async def note(seconds: float) -> None:
        delays.append(seconds)

    async def ask() -> None:
        nonlocal now
        monkeypatch.setattr(asyncio.get_running_loop(), "time", lambda: now)
        rate = Rate(note)
        await rate.wait()
        now += idle_s
        for _ in range(number):
            before = len(delays)
            await rate.wait()
            delays.extend([0.0] * (before + 1 - len(delays)))

    run_coroutine(ask())
    return delays


@pytest.mark.parametrize("idle_s", [1.0, 1_000_000.0])
def test_a_few_requests_at_once_do_not_wait(idle_s: float, monkeypatch: pytest.MonkeyPatch) -> None:
    assert list_delays(guard._AT_ONCE, monkeypatch, idle_s=idle_s) == [0.0] * guard._AT_ONCE


def test_a_flood_waits_until_its_rate_is_small(monkeypatch: pytest.MonkeyPatch) -> None:
    delays = list_delays(guard._AT_ONCE + guard._PER_SECOND, monkeypatch, idle_s=1.0)
    assert delays == sorted(delays)
    assert delays[-1] == pytest.approx(1.0, abs=2 / guard._PER_SECOND)
