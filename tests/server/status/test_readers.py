"""At its end, a server waits for those who watch the run, and for no one else."""

import threading

from server.status.readers import Readers
from tests.bounds import HANG_S


def test_all_who_have_asked_lately_are_awaited() -> None:
    readers = Readers()
    for name in ("page", "terminal"):
        readers.note(name)
    readers.note("page", is_final=True)
    assert not readers.wait(0)
    waited = threading.Thread(target=readers.wait, args=(2 * HANG_S,))
    waited.start()
    readers.note("terminal", is_final=True)
    waited.join(HANG_S)
    assert not waited.is_alive()


def test_readers_that_never_polled_or_have_gone_are_not_awaited() -> None:
    now = [0.0]
    readers = Readers(clock=lambda: now[0])
    assert readers.wait(0)
    readers.note("page")
    assert not readers.wait(0)
    now[0] = 60.0
    assert readers.wait(0)


def test_of_very_many_readers_the_newest_are_remembered() -> None:
    readers = Readers()
    for number in range(1_000):
        readers.note(str(number), is_final=True)
    assert readers.wait(0)
    readers.note("1000")
    assert not readers.wait(0)
