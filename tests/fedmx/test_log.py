"""One line an event, whatever text is in it."""

import io
import json
import logging
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedmx.log import configure, event, logger, printable, warn


def lines_of(stream: io.StringIO) -> list[str]:
    """Give the lines without their clock."""
    return [line.partition(" ")[2] for line in stream.getvalue().splitlines()]


@pytest.fixture
def text() -> io.StringIO:
    stream = io.StringIO()
    configure("INFO", "text", stream)
    return stream


@pytest.fixture
def jsonl() -> io.StringIO:
    stream = io.StringIO()
    configure("INFO", "json", stream)
    return stream


def test_an_event_is_its_fields_as_key_and_value(text: io.StringIO) -> None:
    event(round="3/3", nodes=2, loss=0.31789, accuracy=1.0, seconds=1234567.0, epsilon=None)
    assert lines_of(text) == ["INFO    round=3/3 nodes=2 loss=0.3179 accuracy=1 seconds=1.235e+06"]


def test_a_message_stands_before_its_fields_and_a_line_begins_with_a_clock(text: io.StringIO) -> None:
    warn("lost the server", address="a:1", path=Path("runs/x"))
    clock, _, rest = text.getvalue().partition(" ")
    assert rest == "WARNING lost the server address=a:1 path=runs/x\n"
    hours, minutes, seconds = clock.split(":")
    assert (len(hours), len(minutes), len(seconds)) == (2, 2, 6)


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        ("plain", "plain"),
        ("", '""'),
        ("two words", '"two words"'),
        ("a=b", '"a=b"'),
        ('say "x"', r'"say \"x\""'),
        ("one\ntwo", r"one\ntwo"),
        ("\x1b[31mred", r"\x1b[31mred"),
        ("\u202ereversed", r"\u202ereversed"),
        ("Z\u00fcrich", "Z\u00fcrich"),
        ("a Z\u00fcrich", '"a Z\u00fcrich"'),
        (True, "True"),
        ([1, 2], '"[1, 2]"'),
    ],
)
def test_what_would_break_a_line_is_escaped_or_quoted(value: object, shown: str, text: io.StringIO) -> None:
    event("said", what=value)
    assert lines_of(text) == [f"INFO    said what={shown}"]


def test_a_message_from_the_wire_cannot_begin_a_line_of_its_own(text: io.StringIO) -> None:
    warn("no such label\n12:00:00.000 INFO    node joined node=evil\r\x00")
    assert lines_of(text) == [
        r"WARNING no such label\n12:00:00.000 INFO    node joined node=evil\r\x00",
    ]


@given(st.text(), st.text())
def test_every_text_is_one_printable_line(message: str, value: str) -> None:
    stream = io.StringIO()
    configure("INFO", "text", stream)
    event(message, value=value)
    (line,) = stream.getvalue().split("\n")[:-1]
    assert line.isprintable()


@given(st.text(), st.integers(3, 50))
def test_text_from_the_wire_is_bounded(text: str, limit: int) -> None:
    shown = printable(text, limit)
    assert len(shown) <= limit
    assert shown.isprintable()
    assert shown == text or not (text.isprintable() and len(text) <= limit)


def test_a_long_text_ends_in_dots() -> None:
    assert printable("x" * 1000) == "x" * 397 + "..."


def test_json_has_one_object_a_line_with_the_fields_by_name(jsonl: io.StringIO) -> None:
    event("node joined", node='no"rth\n', loss=0.25, seen=None, folder=Path("runs"))
    warn(rounds=2)
    first, second = map(json.loads, jsonl.getvalue().splitlines())
    assert first.pop("time") > 1.6e9
    assert first == {
        "level": "INFO",
        "message": r'node joined node="no\"rth\\n" loss=0.25 folder=runs',
        "node": 'no"rth\n',
        "loss": 0.25,
        "folder": "runs",
    }
    assert (second["level"], second["rounds"], second["message"]) == ("WARNING", 2, "rounds=2")


def test_json_stays_json_where_a_number_is_not_finite(jsonl: io.StringIO) -> None:
    event(loss=float("nan"), norm=float("-inf"))

    def refuse(constant: str) -> None:
        raise AssertionError(f"{constant} is no JSON")

    fields = json.loads(jsonl.getvalue(), parse_constant=refuse)
    assert (fields["loss"], fields["norm"]) == ("nan", "-inf")


@pytest.mark.parametrize("form", ["text", "json"])
def test_a_bug_keeps_its_traceback(form: str) -> None:
    stream = io.StringIO()
    configure("INFO", form, stream)
    error = LookupError("of the test")
    logger.error("a bug", exc_info=error)
    shown = stream.getvalue() if form == "text" else json.loads(stream.getvalue())["traceback"]
    assert "LookupError: of the test" in shown


def test_events_below_the_level_are_left_out() -> None:
    stream = io.StringIO()
    configure("WARNING", "text", stream)
    event("quiet")
    warn("loud")
    assert lines_of(stream) == ["WARNING loud"]


def test_configuring_again_replaces_and_flowers_own_logger_keeps_to_warnings() -> None:
    first, second = io.StringIO(), io.StringIO()
    configure("INFO", "text", first)
    configure("INFO", "text", second)
    event("once")
    assert (first.getvalue(), len(lines_of(second))) == ("", 1)
    assert logging.getLogger("flwr").level == logging.WARNING


def test_without_a_stream_logs_go_to_standard_error(capsys: pytest.CaptureFixture[str]) -> None:
    configure("INFO", "text")
    event("here")
    captured = capsys.readouterr()
    assert (captured.out, captured.err.endswith("INFO    here\n")) == ("", True)
