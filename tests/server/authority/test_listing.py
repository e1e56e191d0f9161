"""The table of certificates, from records of any age."""

from datetime import UTC, datetime

from fedmx.pki.register import Issued
from server.authority.listing import make_table

NOW = datetime(2026, 11, 25, tzinfo=UTC)
FUTURE, PAST = "2027-11-25T10:30:00+00:00", "2026-11-24T10:30:00+02:00"


def cells(*issued: Issued) -> list[list[str]]:
    return [line.split() for line in make_table(issued, NOW)][1:]


def site(serial: str, until: str = FUTURE, *, is_revoked: bool = False) -> Issued:
    return Issued(serial, "site", "a", until, is_revoked, since=PAST)


def test_the_newest_valid_certificate_is_current_and_others_are_replaced() -> None:
    states = [(row[5], row[2]) for row in cells(site("1"), site("2"), site("3"))]
    assert states == [("3", "current"), ("2", "replaced"), ("1", "replaced")]


def test_revoked_and_expired_certificates_are_neither_current_nor_replaced() -> None:
    rows = cells(site("1", PAST, is_revoked=True), site("2", is_revoked=True), site("3", PAST))
    assert [(row[5], row[2]) for row in rows] == [("3", "expired"), ("2", "revoked"), ("1", "revoked")]


def test_times_are_utc_and_a_missing_one_is_unknown() -> None:
    assert cells(site("1"))[0][3:5] == ["2026-11-24T08:30Z", "2027-11-25T10:30Z"]
    assert cells(Issued("1", "site", "a", FUTURE))[0][3] == "unknown"


def test_a_site_named_server_is_not_the_server() -> None:
    rows = cells(Issued("1", "site", "server", FUTURE), Issued("2", "server", "server", FUTURE))
    assert [(row[0], row[2]) for row in rows] == [("server", "current"), ("site", "current")]


def test_columns_are_aligned_with_their_headers() -> None:
    long = Issued("1", "site", "a" * 32, FUTURE, since=PAST)
    lines = list(make_table([long, site("2", is_revoked=True)], NOW))
    for head in ("NAME", "STATE", "ISSUED", "EXPIRES", "SERIAL"):
        place = lines[0].index(head)
        assert all(line[place - 1] == " " and line[place] != " " for line in lines)
