"""What is renewed, and what a site has to ask for itself."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

from fedmx.pki import csr
from fedmx.pki.renewal import find_due_requests, renew
from tests.fedmx.pki.papers import make_pki, open_authority


def test_renew_reissues_what_expires_soon_unless_it_is_revoked_or_its_key_is_elsewhere(
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
