"""A server reports that it listens through the pipe that it was started with, or not at all."""

import os
from pathlib import Path

import pytest

from fedmx.readiness import Ready, report_ready
from fedmx.settings import environment
from fedmx.values import Address

READY = Ready(Address("::1", 4711), Path("runs/one"))


def test_what_is_reported_is_what_is_parsed_and_then_the_pipe_is_closed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    reader, writer = os.pipe()
    monkeypatch.setenv("READY_FD", str(writer))
    report_ready(READY)
    with open(reader) as pipe:  # noqa: PTH123 - a descriptor has no path
        [line] = pipe
    assert Ready.parse(line) == READY
    assert "READY_FD" not in environment()


@pytest.mark.parametrize("descriptor", [None, "", "none", "-1"])
def test_a_server_that_was_started_without_a_pipe_reports_nothing(
    monkeypatch: pytest.MonkeyPatch, descriptor: str | None
) -> None:
    if descriptor is None:
        monkeypatch.delenv("READY_FD", raising=False)
    else:
        monkeypatch.setenv("READY_FD", descriptor)
    report_ready(READY)


def test_a_reader_that_is_gone_is_no_error(monkeypatch: pytest.MonkeyPatch) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    monkeypatch.setenv("READY_FD", str(writer))
    report_ready(READY)


@pytest.mark.parametrize("line", ["", "{", "{}", '{"address": "x", "run_dir": "y"}', "[]"])
def test_an_incomplete_line_is_a_value_error(line: str) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - the message is json's or the address's
        Ready.parse(line)
