"""Renewal, and the warnings that a person should see."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

from fedmx.pki import csr
from fedmx.pki.renewal import find_due_requests, find_warnings, renew
from tests.fedmx.pki.papers import make_pki, open_authority


def test_renew_reissues_expiring_certificates_unless_revoked_or_the_key_is_elsewhere(
    tmp_path: Path,
) -> None:
    changing = make_pki(tmp_path / "pki", "north")
    for name in ("gone", "young"):
        changing.issue_site(name)
    changing.revoke("gone")
    changing.sign(csr.create("own", tmp_path / "own").read_bytes(), "own")
    assert renew(changing) == []
    assert find_due_requests(changing) == {}
    late = open_authority(changing.folder, datetime.now(UTC) + timedelta(days=340))
    late.issue_site("young")
    assert [one.name for one in renew(late)] == ["server", "local", "north"]
    assert renew(late) == []
    assert find_due_requests(late) == {"own": "its certificate expires within RENEW_DAYS=30 days"}


def test_an_authority_that_expires_within_renew_days_is_a_warning_with_the_date_and_the_remedy(
    tmp_path: Path,
) -> None:
    now = datetime(2026, 1, 2, tzinfo=UTC)
    expiring = open_authority(tmp_path, now, authority_days=29.0)
    with expiring.locked():
        expiring.ensure()
    [warning] = find_warnings(expiring)
    assert "2026-01-31" in warning
    assert f"move {tmp_path / 'authority'} away" in warning
    assert find_warnings(open_authority(tmp_path, now, renew_days=28.0)) == []


def test_replacing_an_authority_as_its_warning_says_gives_the_server_a_valid_certificate_with_its_names(
    tmp_path: Path,
) -> None:
    expiring = open_authority(tmp_path / "pki", authority_days=1.0, server_names=("fl.example.org",))
    with expiring.locked():
        expiring.ensure()
    (tmp_path / "pki" / "authority").rename(tmp_path / "old")
    replaced = open_authority(tmp_path / "pki")
    with replaced.locked():
        assert [one.name for one in replaced.ensure()] == ["server", "local"]
    assert find_warnings(replaced) == []
    assert "fl.example.org" in replaced.find_names().current


def test_an_unknown_name_to_remove_is_a_warning_that_lists_the_known_ones(tmp_path: Path) -> None:
    changing = make_pki(tmp_path, server_names=("fl.example.org",))
    [warning] = find_warnings(open_authority(changing.folder, server_names=("-typo",)))
    assert warning.startswith("SERVER_NAMES=-typo: ")
    assert "fl.example.org" in warning
