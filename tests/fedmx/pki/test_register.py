"""The authority's register, revocations, and the list of them that the server reads."""

import json
from datetime import datetime
from pathlib import Path

import pytest

from fedmx.errors import DataError
from fedmx.pki.authority import Authority
from fedmx.pki.certificates import SITE
from fedmx.pki.register import Issued
from tests.fedmx.pki.papers import load, open_authority, own_serial, read_all, read_revoked


def test_revoking_a_site_revokes_all_its_certificates_and_no_others(changing: Authority) -> None:
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
def test_revoking_an_unknown_site_lists_the_known_ones(name: str, changing: Authority) -> None:
    with pytest.raises(DataError) as caught:
        changing.revoke(name)
    assert str(caught.value) == (
        f"site {name!r} has no certificate to revoke; sites with a certificate: local, north"
    )
    changing.revoke("north")
    with pytest.raises(DataError, match=r"site 'north' has no certificate .* with a certificate: local$"):
        changing.revoke("north")


def test_a_site_can_be_revoked_before_the_server_has_a_certificate(tmp_path: Path) -> None:
    made = open_authority(tmp_path)
    with made.locked():
        made.create()
    made.issue_site("north")
    made.revoke("north")
    made.issue_server()
    assert read_revoked(made) == [own_serial(made, "north")]


def test_a_lost_or_damaged_list_of_revocations_is_written_again(changing: Authority) -> None:
    changing.revoke("north")
    path = changing.folder / "server" / "revoked.txt"
    before = path.read_bytes()
    for spoil in (path.unlink, lambda: path.write_bytes(b"\xff\0"), lambda: path.write_bytes(b"")):
        spoil()
        assert changing.ensure() == []
        assert path.read_bytes() == before


def test_certificates_are_listed_oldest_first(changing: Authority) -> None:
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
def test_a_damaged_register_is_a_one_line_error_and_nothing_is_issued(text: str, changing: Authority) -> None:
    path = changing.folder / "authority" / "issued.json"
    path.write_bytes(text.encode("latin1"))
    before = read_all(changing.folder)
    with pytest.raises(
        DataError, match=r"issued\.json: cannot be read: .*; expected the authority's register"
    ):
        changing.issue_site("south")
    assert read_all(changing.folder) == before


def test_the_register_is_readable_json(changing: Authority) -> None:
    found = json.loads((changing.folder / "authority" / "issued.json").read_text())
    assert [Issued(**{**one, "hosts": tuple(one["hosts"])}) for one in found] == changing.list()
