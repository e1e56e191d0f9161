import itertools
import socket
import threading
import time

import numpy as np
import pytest

from bench.wan.line import Line, Pace
from bench.wan.proxy import carry

LINE = Line(delay_s=0.5, bytes_per_s=1000.0)


def test_pieces_that_are_always_ready_leave_at_the_rate() -> None:
    pace = Pace(LINE)
    now = 10.0
    for _ in range(20):
        now = pace.leave(100, now)
    assert now - 10.0 == pytest.approx(20 * 100 / 1000.0, abs=0.01)


def test_a_line_that_was_idle_does_not_make_up_for_it() -> None:
    pace = Pace(LINE)
    pace.leave(100, 0.0)
    assert pace.leave(500, 60.0) == pytest.approx(60.5, abs=0.01)


def test_a_thread_that_wakes_up_late_costs_no_rate() -> None:
    pace = Pace(LINE)
    moments = itertools.accumulate(range(50), lambda now, _: pace.leave(100, now + 0.004), initial=0.0)
    assert list(moments)[-1] == pytest.approx(50 * 100 / 1000.0, rel=0.02)


def test_a_line_holds_what_is_sent_within_its_delay() -> None:
    assert LINE.bytes_in_flight == 500


def test_bytes_arrive_in_order_and_whole_and_the_end_follows_them() -> None:
    near, source = socket.socketpair()
    sink, far = socket.socketpair()
    began = time.monotonic()
    line = Line(delay_s=0.05, bytes_per_s=10e6)
    carry(source, sink, line)
    sent = np.random.default_rng(0).bytes(500_000)

    def write() -> None:
        near.sendall(sent)
        near.shutdown(socket.SHUT_WR)

    threading.Thread(target=write).start()
    with far.makefile("rb") as file:
        assert file.read() == sent
    assert time.monotonic() - began >= line.delay_s
    for each in (near, source, sink, far):
        each.close()


def test_a_line_whose_far_end_is_gone_lets_the_near_end_finish() -> None:
    near, source = socket.socketpair()
    sink, far = socket.socketpair()
    far.close()
    carry(source, sink, Line(delay_s=0.0, bytes_per_s=1e9))
    # More than the line and the sockets hold.
    near.sendall(bytes(4_000_000))
    for each in (near, source, sink):
        each.close()
