"""What is on record of an authority, what is taken back, and what its server is read_revoked."""

import json
from datetime import datetime
from pathlib import Path

import pytest

from fedmx.errors import DataError
from fedmx.pki.authority import Authority
from fedmx.pki.certificates import SITE
from fedmx.pki.register import Issued
from tests.fedmx.pki.papers import load, make_pki, open_authority, own_serial, read_all, read_revoked


@pytest.fixture
def changing(tmp_path: Path) -> Authority:
    """One that a test may change."""
    return make_pki(tmp_path / "pki", "north")


def test_a_sites_certificates_are_all_taken_back_and_no_other_sites(changing: Authority) -> None:
    first = own_serial(changing, "north")
    changing.issue_site("north")
    changing.issue_site("south")
    second = own_serial(changing, "north")
    assert [one.serial for one in changing.revoke("north")] == [first, second]
    assert read_revoked(changing) == [first, second]
    assert [one.name for one in changing.list() if one.is_revoked] == ["north", "north"]
    changing.issue_site("north")
    third = own_serial(changing, "north")
    assert [one.serial for one in changing.revoke("north")] == [third]
    assert read_revoked(changing) == [first, second, third]


@pytest.mark.parametrize("name", ["nort", "server", "", "north\n"])
def test_revoking_a_name_that_nobody_has_says_who_has_one(name: str, changing: Authority) -> None:
    with pytest.raises(DataError) as caught:
        changing.revoke(name)
    assert str(caught.value) == (
        f"site {name!r} has no certificate to revoke; sites with a certificate: local, north"
    )
    changing.revoke("north")
    with pytest.raises(DataError, match=r"site 'north' has no certificate .* with a certificate: local$"):
        changing.revoke("north")


def test_a_site_may_be_revoked_before_there_is_a_server(tmp_path: Path) -> None:
    made = open_authority(tmp_path)
    with made.locked():
        made.create()
    made.issue_site("north")
    made.revoke("north")
    made.issue_server()
    assert read_revoked(made) == [own_serial(made, "north")]


def test_a_list_of_the_revoked_that_is_lost_or_damaged_is_written_again(changing: Authority) -> None:
    changing.revoke("north")
    path = changing.folder / "server" / "revoked.txt"
    before = path.read_bytes()
    for spoil in (path.unlink, lambda: path.write_bytes(b"\xff\0"), lambda: path.write_bytes(b"")):
        spoil()
        assert changing.ensure() == []
        assert path.read_bytes() == before


def test_all_that_was_issued_is_listed_oldest_first(changing: Authority) -> None:
    assert [(one.role, one.name, one.is_revoked) for one in changing.list()] == [
        ("server", "server", False),
        ("site", "local", False),
        ("site", "north", False),
    ]
    last = changing.list()[-1]
    certificate = load(changing.folder_of(SITE, "north") / "site.crt")
    assert int(last.serial, 16) == certificate.serial_number
    assert datetime.fromisoformat(last.until) == certificate.not_valid_after_utc


@pytest.mark.parametrize("text", ["{", "[1]", '[{"serial": "1"}]', "\xff"])
def test_a_record_that_is_damaged_is_one_line_and_nothing_is_issued(text: str, changing: Authority) -> None:
    path = changing.folder / "authority" / "issued.json"
    path.write_bytes(text.encode("latin1"))
    before = read_all(changing.folder)
    with pytest.raises(
        DataError, match=r"issued\.json: cannot be read: .*; expected the authority's register"
    ):
        changing.issue_site("south")
    assert read_all(changing.folder) == before


def test_the_record_is_json_that_a_person_can_read(changing: Authority) -> None:
    found = json.loads((changing.folder / "authority" / "issued.json").read_text())
    assert [Issued(**{**one, "hosts": tuple(one["hosts"])}) for one in found] == changing.list()
