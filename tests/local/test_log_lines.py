"""Log lines of either format are parsed; all other lines are shown as they are."""

import pytest

from local.log_lines import is_routine, shorten, split_line


@pytest.mark.parametrize(
    ("line", "answer"),
    [
        ("2026-11-25T12:34:56.789+00:00 INFO    round finished round=1 loss=0.3", True),
        ("2026-11-25T12:34:56.789+00:00 DEBUG   frame", True),
        ("2026-11-25T12:34:56.789+00:00 INFO    resuming a run run=a", False),
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
def test_the_message_of_a_line_is_parsed_in_either_format(line: str) -> None:
    assert split_line(line)[1] == "no such folder"


def test_a_log_line_is_shown_without_its_date_and_zone() -> None:
    assert shorten("2026-11-25T12:34:56.789+00:00 WARNING slow") == "12:34:56.789 WARNING slow"
    assert shorten("no log line") == "no log line"
