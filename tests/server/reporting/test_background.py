"""Reporters in the background: slow or hung, they cost no round and little of the program's end."""

import os
import signal
import threading
import time
from types import FrameType

import pytest

from fedmx.errors import StopSignal
from server.report import Outcome, RoundReport
from server.reporting.reporter import Reporter
from server.reporting.reporters import Reporters
from tests.bounds import HANG_S
from tests.server.reports import make_report


class Held(Reporter):
    """Waits in its first round until it is released."""

    patience_s = 0.2

    def __init__(self) -> None:
        self.released = threading.Event()
        self.seen: list[str] = []

    def on_round(self, report: RoundReport) -> None:
        self.released.wait(HANG_S)
        self.seen.append(f"round {report.round}")

    def on_end(self, outcome: Outcome) -> None:
        self.seen.append(outcome.status)

    def close(self, *, is_stopped: bool) -> None:
        self.seen.append(f"close {is_stopped}")


@pytest.fixture
def warnings(caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> pytest.LogCaptureFixture:
    monkeypatch.setattr("fedmx.log.logger.propagate", True)
    return caplog


def test_rounds_go_on_while_a_reporter_is_busy_and_it_receives_all_of_them_in_order() -> None:
    held = Held()
    held.patience_s = HANG_S
    with Reporters([held]) as reporters:
        reporters.on_round(make_report(1))
        reporters.on_round(make_report(2))
        reporters.on_end(Outcome("finished"))
        assert held.seen == []
        held.released.set()
    assert held.seen == ["round 1", "round 2", "finished", "close False"]


def test_a_reporter_that_hangs_is_one_warning_and_is_not_called_again(
    warnings: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("server.reporting.calls._HANGS_AFTER_S", 0.0)
    held = Held()
    with Reporters([held]) as reporters:
        reporters.on_round(make_report(1))
        while not any("reporter hangs" in line for line in warnings.messages):
            time.sleep(0.01)
            reporters.on_round(make_report(2))
        reporters.on_round(make_report(3))
    held.released.set()
    assert [line for line in warnings.messages if "reporter=Held" in line] == [
        'reporter hangs reporter=Held reason="a call takes too long"'
    ]


def test_the_end_of_the_program_waits_for_a_reporter_no_longer_than_its_patience(
    warnings: pytest.LogCaptureFixture,
) -> None:
    held = Held()
    with Reporters([held]) as reporters:
        reporters.on_round(make_report(1))
    held.released.set()
    assert warnings.messages == ['reporter hangs reporter=Held reason="it has not finished"']


def test_a_program_that_is_stopped_by_a_signal_notifies_its_reporters() -> None:
    held = Held()
    held.released.set()

    def run() -> None:
        with Reporters([held]) as reporters:
            reporters.on_round(make_report(1))
            raise StopSignal(15)

    with pytest.raises(StopSignal):
        run()
    assert held.seen == ["round 1", "close True"]


class Lingering(Reporter):
    """Notes that it is closed."""

    in_background = False

    def __init__(self) -> None:
        self.is_closing = threading.Event()
        self.seen: list[bool] = []

    def close(self, *, is_stopped: bool) -> None:
        self.seen.append(is_stopped)
        self.is_closing.set()


def test_a_signal_after_the_run_ends_all_waiting_and_leaves_the_exit_code_as_it_is(
    warnings: pytest.LogCaptureFixture,
) -> None:
    held, lingering = Held(), Lingering()
    held.patience_s = HANG_S

    def stop(number: int, _: FrameType | None) -> None:
        raise StopSignal(number)

    def send() -> None:
        lingering.is_closing.wait(HANG_S)
        # By now, the end of the program waits for the other one.
        time.sleep(0.1)
        os.kill(os.getpid(), signal.SIGUSR1)

    before = signal.signal(signal.SIGUSR1, stop)
    sender = threading.Thread(target=send)
    sender.start()
    try:
        with Reporters([held, lingering]) as reporters:
            reporters.on_round(make_report(1))
    finally:
        sender.join(HANG_S)
        signal.signal(signal.SIGUSR1, before)
        held.released.set()
    assert lingering.seen == [False, True]
    assert warnings.messages == ['reporter hangs reporter=Held reason="it has not finished"']


def test_a_reporter_that_fails_in_the_background_is_one_warning(warnings: pytest.LogCaptureFixture) -> None:
    class Failing(Reporter):
        def on_round(self, _: RoundReport) -> None:
            raise OSError("no route")

    with Reporters([Failing()]) as reporters:
        reporters.on_round(make_report(1))
        reporters.on_round(make_report(2))
    assert len(warnings.messages) == 1
    assert "no route" in warnings.messages[0]
