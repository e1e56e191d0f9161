"""The event log: lines of several writers stay whole, and no source of events can fill the disk."""

import io
import json
import multiprocessing
import os
import resource
import signal
from pathlib import Path
from typing import Any

import pytest

from fedmx import log
from fedmx.event_log import FILE, EventLog, read_events
from tests.bounds import HANG_S

WRITERS = 4
LINES = 300
PERIOD_S = 300.0


class Clock:
    """A clock that the test sets."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


def names(events: list[dict[str, Any]]) -> list[str]:
    return [event["event"] for event in events]


def write_many(folder: Path, writer: int) -> None:
    events = EventLog(folder, max_bytes=20_000)
    for number in range(LINES):
        events.note("tried", writer=writer, number=number, text="x" * (number % 50))


def test_an_event_has_its_time_and_the_fields_that_are_known(tmp_path: Path) -> None:
    EventLog(tmp_path).note("node joined", node="a.x", site=None, reason="a\nb\udc80" + "x" * 1000)
    (event,) = read_events(tmp_path)
    assert list(event) == ["time", "event", "node", "reason"]
    assert event["time"].endswith("+00:00")
    assert event["reason"] == "a\nb\udc80" + "x" * 396
    assert (tmp_path / FILE).read_bytes().count(b"\n") == 1


def test_a_pipe_in_place_of_the_log_costs_one_warning_and_holds_nobody_up(tmp_path: Path) -> None:
    stream = io.StringIO()
    log.configure("INFO", "text", stream)
    os.mkfifo(tmp_path / FILE)
    for _ in range(2):
        EventLog(tmp_path).note("node joined")
    assert stream.getvalue().count("WARNING") == 1
    assert read_events(tmp_path) == []


def test_lines_of_several_processes_are_whole_while_files_are_rotated(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    writers = [context.Process(target=write_many, args=(tmp_path, n)) for n in range(WRITERS)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join(HANG_S)
        assert writer.exitcode == 0
    files = sorted(path.name for path in tmp_path.iterdir())
    assert files == ["events.1.jsonl", "events.2.jsonl", "events.3.jsonl", FILE]
    assert sum(path.stat().st_size for path in tmp_path.iterdir()) < 4 * 21_000
    for path in tmp_path.iterdir():
        assert all(json.loads(line)["event"] == "tried" for line in path.read_bytes().splitlines())
    # The newest lines of each are kept, in order.
    for own in range(WRITERS):
        numbers = [event["number"] for event in read_events(tmp_path) if event["writer"] == own]
        assert numbers == sorted(numbers)


def test_what_one_source_causes_is_counted_beyond_ten_lines_in_five_minutes(tmp_path: Path) -> None:
    clock = Clock()
    events = EventLog(tmp_path, clock=clock)
    for number in range(1000):
        events.note("node refused", source="192.0.2.1", number=number)
        events.note("node refused", source="192.0.2.2") if not number else None
    assert len(read_events(tmp_path)) == 11
    clock.now = PERIOD_S
    events.report()
    count = read_events(tmp_path)[-1]
    assert (count["times"], count["number"], count["in_s"]) == (990, 999, 300)
    events.note("node refused", source="192.0.2.1", number=0)
    assert read_events(tmp_path)[-1]["number"] == 0


def test_any_number_of_sources_write_a_limited_number_of_lines(tmp_path: Path) -> None:
    clock = Clock()
    events = EventLog(tmp_path, clock=clock)
    for number in range(6000):
        events.note("node refused", source=str(number))
    events.note("node joined", source="a")
    assert names(read_events(tmp_path)) == ["node refused"] * 1000 + ["node joined"]
    events.report_now()
    assert len(read_events(tmp_path)) == 1001 + 101
    assert sum(event.get("times", 0) for event in read_events(tmp_path)) == 5000


def test_what_the_program_itself_does_is_never_left_out(tmp_path: Path) -> None:
    events = EventLog(tmp_path)
    for number in range(50):
        events.note("run started", number=number)
    assert [event["number"] for event in read_events(tmp_path)] == list(range(50))


def test_a_log_that_cannot_be_written_costs_one_warning(tmp_path: Path) -> None:
    stream = io.StringIO()
    log.configure("INFO", "text", stream)
    events = EventLog(tmp_path / "gone")
    for _ in range(3):
        events.note("node joined")
    assert stream.getvalue().count("WARNING") == 1
    assert str(tmp_path / "gone" / FILE) in stream.getvalue()
    (tmp_path / "gone").mkdir()
    events.note("node left")
    assert names(read_events(tmp_path / "gone")) == ["node left"]


def test_a_line_that_was_written_in_part_does_not_spoil_the_next(tmp_path: Path) -> None:
    stream = io.StringIO()
    log.configure("INFO", "text", stream)
    events = EventLog(tmp_path)
    events.note("node joined")
    size = (tmp_path / FILE).stat().st_size
    before = resource.getrlimit(resource.RLIMIT_FSIZE), signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (size + 20, before[0][1]))
        events.note("node refused")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before[0])
        signal.signal(signal.SIGXFSZ, before[1])
    assert (tmp_path / FILE).stat().st_size == size + 20
    EventLog(tmp_path).note("node left")
    assert names(read_events(tmp_path)) == ["node joined", "node left"]
    assert stream.getvalue().count("WARNING") == 1


@pytest.mark.parametrize("line", [b"{", b"[]", b"{}", b'{"event": 1, "time": 2}', b"[" * 99_999, b"\xff"])
def test_a_line_that_is_no_event_is_skipped(tmp_path: Path, line: bytes) -> None:
    (tmp_path / FILE).write_bytes(line + b"\n")
    EventLog(tmp_path).note("node left")
    assert names(read_events(tmp_path)) == ["node left"]


def test_a_folder_without_a_log_has_no_events_and_an_unreadable_one_is_an_error(tmp_path: Path) -> None:
    assert read_events(tmp_path) == []
    (tmp_path / FILE).mkdir()
    with pytest.raises(OSError, match=os.strerror(21)):
        read_events(tmp_path)
