"""One line per event, whatever text is in it."""

import ast
import io
import json
import logging
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedmx.log import configure, error, event, logger, printable, warn

ROOT = Path(__file__).parents[2]


def lines_of(stream: io.StringIO) -> list[str]:
    """Return the lines without their time."""
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


def test_an_event_is_its_name_and_its_fields_as_key_and_value(text: io.StringIO) -> None:
    event("round finished", round=3, rounds=3, loss=0.31789, accuracy=1.0, seconds=1234567.8, epsilon=None)
    assert lines_of(text) == [
        "INFO    round finished round=3 rounds=3 loss=0.3179 accuracy=1 seconds=1234568"
    ]


@pytest.mark.parametrize(
    ("number", "in_text", "in_json"),
    [
        (299.99996525499955, "300", 300.0),
        (0.0, "0", 0.0),
        (0.123456789, "0.1235", 0.123457),
        (-12345.678, "-12346", -12345.7),
        (1e-7 / 3, "3.333e-08", 3.33333e-08),
        (123456789.5, "123456790", 123456790.0),
    ],
)
def test_numbers_are_rounded_for_people_and_remain_numbers_in_json(
    number: float, in_text: str, in_json: float, text: io.StringIO
) -> None:
    event("waiting", remaining_s=number)
    assert lines_of(text) == [f"INFO    waiting remaining_s={in_text}"]
    jsonl = io.StringIO()
    configure("INFO", "json", jsonl)
    event("waiting", remaining_s=number, remaining=7)
    line = json.loads(jsonl.getvalue())
    assert (line["remaining_s"], line["remaining"]) == (in_json, 7)


@pytest.mark.parametrize("form", ["text", "json"])
def test_a_line_begins_with_date_time_and_zone(form: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", "Asia/Kolkata")
    time.tzset()
    stream = io.StringIO()
    configure("INFO", form, stream)
    before = datetime.now(UTC)
    event("node joined")
    monkeypatch.undo()
    time.tzset()
    line = stream.getvalue()
    logged = line.partition(" ")[0] if form == "text" else json.loads(line)["time"]
    assert logged.endswith("+05:30")
    assert timedelta(milliseconds=-1) <= datetime.fromisoformat(logged) - before < timedelta(minutes=10)


def test_a_line_is_time_level_event_and_fields(text: io.StringIO) -> None:
    warn("lost the server", address="a:1", path=Path("runs/x"))
    clock, _, rest = text.getvalue().partition(" ")
    assert rest == "WARNING lost the server address=a:1 path=runs/x\n"
    assert datetime.fromisoformat(clock).tzinfo is not None


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
        (["a", "b"], "a,b"),
        ([], '""'),
    ],
)
def test_text_that_would_break_a_line_is_escaped_or_quoted(
    value: object, shown: str, text: io.StringIO
) -> None:
    event("received", text=value)
    assert lines_of(text) == [f"INFO    received text={shown}"]


def test_text_from_the_wire_cannot_begin_a_line_of_its_own(text: io.StringIO) -> None:
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


def test_json_has_one_object_per_line_with_the_fields_by_name(jsonl: io.StringIO) -> None:
    event("node joined", node='no"rth\n', loss=0.25, seen=None, folder=Path("runs"), nodes=["a", "b"])
    warn("round failed", rounds=2)
    first, second = map(json.loads, jsonl.getvalue().splitlines())
    assert datetime.fromisoformat(first.pop("time")).tzinfo is not None
    # Each field appears once, and the event's name without them.
    assert first == {
        "level": "INFO",
        "event": "node joined",
        "node": 'no"rth\n',
        "loss": 0.25,
        "folder": "runs",
        "nodes": ["a", "b"],
    }
    del second["time"]
    assert second == {"level": "WARNING", "event": "round failed", "rounds": 2}


def test_a_mapping_is_one_field_in_json_and_a_field_per_entry_as_text() -> None:
    text, jsonl = io.StringIO(), io.StringIO()
    metrics = {"loss": 0.123456789, "round": 2, "a\nb": float("nan")}
    for form, stream in (("text", text), ("json", jsonl)):
        configure("INFO", form, stream)
        event("round finished", round=1, metrics=metrics)
    assert lines_of(text) == [r"INFO    round finished round=1 loss=0.1235 metrics.round=2 a\nb=nan"]
    line = json.loads(jsonl.getvalue())
    assert line["round"] == 1
    assert line["metrics"] == {"loss": 0.123457, "round": 2, "a\nb": "nan"}


def test_the_line_of_an_error_is_the_reason_of_one_event() -> None:
    text, jsonl = io.StringIO(), io.StringIO()
    for form, stream in (("text", text), ("json", jsonl)):
        configure("INFO", form, stream)
        error("SEED='x': expected an integer")
    assert lines_of(text) == ["ERROR   SEED='x': expected an integer"]
    line = json.loads(jsonl.getvalue())
    assert (line["level"], line["event"], line["reason"]) == (
        "ERROR",
        "error",
        "SEED='x': expected an integer",
    )


def test_a_number_that_is_not_finite_is_valid_json(jsonl: io.StringIO) -> None:
    event("round finished", loss=float("nan"), norm=float("-inf"))

    def refuse(constant: str) -> None:
        raise AssertionError(f"{constant} is not JSON")

    fields = json.loads(jsonl.getvalue(), parse_constant=refuse)
    assert (fields["loss"], fields["norm"]) == ("nan", "-inf")


@pytest.mark.parametrize("form", ["text", "json"])
def test_a_bug_keeps_its_traceback(form: str) -> None:
    stream = io.StringIO()
    configure("INFO", form, stream)
    logger.error("a bug", exc_info=LookupError("of the test"))
    shown = stream.getvalue() if form == "text" else json.loads(stream.getvalue())["traceback"]
    assert "LookupError: of the test" in shown


def test_events_below_the_level_are_left_out() -> None:
    stream = io.StringIO()
    configure("WARNING", "text", stream)
    event("quiet")
    warn("loud")
    assert lines_of(stream) == ["WARNING loud"]


def test_configuring_again_replaces_the_handler_and_limits_flowers_logger_to_warnings() -> None:
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


def test_the_name_of_an_event_is_a_constant() -> None:
    found = []
    for tree in ("client", "fedmx", "server"):
        for path in (ROOT / tree).rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text())):
                if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Name) or not node.args:
                    continue
                is_built = isinstance(node.args[0], ast.JoinedStr | ast.BinOp | ast.Call)
                if node.func.id in ("event", "warn") and is_built:
                    found.append(f"{path.relative_to(ROOT)}:{node.lineno}")
    assert found == []
