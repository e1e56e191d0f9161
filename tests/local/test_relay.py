"""Which lines of the programs are shown at once, later, or never."""

import pytest

from local.relay import Relay, is_routine, split_line

INFO = "2026-11-25T12:34:56.789+00:00 INFO    round finished round=1"
WARNING = "2026-11-25T12:34:56.789+00:00 WARNING no answer"
ERROR = "2026-11-25T12:34:56.789+00:00 ERROR   no such folder"
TRACEBACK = ["Traceback (most recent call last):", '  File "x.py", line 1', "KeyError: 1"]


class Shown:
    """A relay, what it showed, and its clock."""

    def __init__(self, level: str = "INFO") -> None:
        self.lines: list[str] = []
        self.now = 100.0
        self.relay = Relay(lambda _, line: self.lines.append(line), level, lambda: self.now)

    def take(self, *lines: str) -> list[str]:
        """Take lines of one program; give all that was shown by then."""
        for line in lines:
            self.relay.take("a", line)
        return self.lines


def test_lines_are_shown_as_they_come_at_the_level_that_is_wanted() -> None:
    assert Shown().take(INFO, WARNING, "no log line") == [INFO, WARNING, "no log line"]
    assert Shown("WARNING").take(INFO, WARNING, "no log line") == [WARNING, "no log line"]


@pytest.mark.parametrize("lines", [[ERROR], [ERROR, *TRACEBACK], TRACEBACK, [ERROR, ERROR]])
def test_what_a_program_says_last_is_held_back_if_it_is_a_complaint(lines: list[str]) -> None:
    shown = Shown()
    assert shown.take(INFO, *lines) == [INFO]
    assert shown.relay.take_last_words("a") == lines
    assert shown.relay.take_last_words("a") == []


def test_a_complaint_that_a_program_did_not_end_of_is_shown_in_its_place() -> None:
    assert Shown().take(ERROR, *TRACEBACK, INFO) == [ERROR, *TRACEBACK, INFO]
    shown = Shown()
    shown.take(ERROR)
    shown.now = 100.9
    shown.relay.release_old()
    assert shown.lines == []
    shown.now = 101.1
    shown.relay.release_old()
    assert shown.lines == [ERROR]
    assert shown.relay.take_last_words("a") == []


def test_a_program_says_nothing_before_it_listens() -> None:
    shown = Shown()
    shown.relay.expect_start("a")
    assert shown.take("SEED='x': expected an integer", INFO) == []
    assert shown.relay.is_starting("a")
    listening = "2026-11-25T12:34:56.789+00:00 INFO    listening address=127.0.0.1:8080"
    assert shown.take(listening)[-1] == listening
    assert not shown.relay.is_starting("a")


def test_programs_that_are_being_ended_say_only_what_is_not_routine() -> None:
    shown = Shown()
    shown.relay.end()
    assert shown.take(INFO, WARNING) == [WARNING]


@pytest.mark.parametrize(
    ("line", "answer"),
    [
        ("2026-11-25T12:34:56.789+00:00 INFO    round finished round=1 loss=0.3", True),
        ("2026-11-25T12:34:56.789+00:00 DEBUG   frame", True),
        ("2026-11-25T12:34:56.789+00:00 WARNING refused a node", False),
        ("2026-11-25T12:34:56.789+00:00 ERROR   no such folder", False),
        ("Traceback (most recent call last):", False),
        ('{"level": "INFO", "event": "x"}', True),
        ('{"level": "ERROR", "event": "error", "reason": "x"}', False),
        ("{not JSON", False),
        ("[1]", False),
        ("7", False),
        ("", False),
    ],
)
def test_only_log_lines_of_low_levels_are_routine(line: str, answer: bool) -> None:
    assert is_routine(line) is answer


@pytest.mark.parametrize(
    "line",
    [
        "2026-11-25T12:34:56.789+00:00 ERROR   no such folder",
        '{"level": "ERROR", "event": "error", "reason": "no such folder"}',
        "no such folder",
    ],
)
def test_the_message_of_a_line_is_found_in_either_format(line: str) -> None:
    assert split_line(line)[1] == "no such folder"


@pytest.mark.parametrize(
    ("line", "address"),
    [
        ("2026-11-25T12:34:56.789+00:00 INFO    listening address=127.0.0.1:4711", "127.0.0.1:4711"),
        ("2026-11-25T12:34:56.789+00:00 INFO    listening address=[::1]:4711", "[::1]:4711"),
        ('{"level": "INFO", "event": "listening", "address": "127.0.0.1:4711"}', "127.0.0.1:4711"),
        ('{"level": "INFO", "event": "listening"}', "None"),
    ],
)
def test_the_address_at_which_a_server_listens_is_read_from_either_format(line: str, address: str) -> None:
    shown = Shown()
    shown.take(line)
    assert str(shown.relay.address) == address
