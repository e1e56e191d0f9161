"""`python -m server events`: the events of runs and certificates in one table, in order."""

import json
from pathlib import Path

import pytest

from fedmx.errors import DataError, SettingsError
from fedmx.event_log import FILE, EventLog
from server.__main__ import main


@pytest.fixture(autouse=True)
def _folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "runs").mkdir()
    monkeypatch.setenv("RUNS_DIR", str(tmp_path / "runs"))
    monkeypatch.setenv("PKI_DIR", str(tmp_path / "pki"))


def test_certificates_and_runs_are_in_one_table_in_order_of_time(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    main(["pki", "ensure"])
    runs = EventLog(tmp_path / "runs")
    runs.note("node joined", node="local.x", site="local")
    runs.note("node refused", address="192.0.2.1:5", reason="\x1b[31m a=b")
    main(["pki", "revoke", "local"])
    capsys.readouterr()
    main(["events"])
    header, *rows = capsys.readouterr().out.splitlines()
    assert header.split() == ["TIME", "EVENT", "WHO", "DETAILS"]
    found = [row[22:].split("  ")[0] for row in rows]
    created, *issued = ("authority created", "certificate issued", "certificate issued")
    assert found == [created, *issued, "node joined", "node refused", "certificate revoked"]
    assert "local.x" in rows[3]
    assert rows[4].endswith("reason=" + r'"\\x1b[31m a=b"')
    main(["events", "--json"])
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [line["event"] for line in lines] == found
    assert lines[2]["serial"] == lines[-1]["serial"]


def test_events_are_listed_since_a_time_or_for_an_age(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    old = [{"time": f"2020-01-0{day}T00:00:00+00:00", "event": "node left", "day": day} for day in (1, 2)]
    (tmp_path / "runs" / FILE).write_text("".join(json.dumps(line) + "\n" for line in old))
    EventLog(tmp_path / "runs").note("node joined")
    for since, expected in (
        ("2020-01-01", 3),
        ("2020-01-02", 2),
        ("2020-01-02T01:00+01:00", 2),
        ("2020-01-02T00:01Z", 1),
        ("2h", 1),
        ("99999d", 3),
    ):
        main(["events", "--json", "--since", since])
        assert len(capsys.readouterr().out.splitlines()) == expected, since


@pytest.mark.parametrize("since", ["", "yesterday", "7", "3w", "999999d", "2026-13-01"])
def test_a_time_that_is_none_is_rejected(since: str) -> None:
    with pytest.raises(SettingsError, match="--since"):
        main(["events", "--since", since])


def test_no_events_are_one_line(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    main(["events"])
    assert capsys.readouterr().out == f"no events in {tmp_path}/runs or {tmp_path}/pki/authority\n"


def test_a_log_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    (tmp_path / "runs" / FILE).mkdir()
    with pytest.raises(DataError, match="runs"):
        main(["events"])


def test_a_line_with_an_invalid_time_is_shown(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "runs" / FILE).write_text('{"time": "x", "event": "node left"}\n')
    main(["events"])
    assert capsys.readouterr().out.splitlines()[1].split() == ["unknown", "node", "left"]
