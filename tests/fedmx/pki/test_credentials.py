"""Loading a program's credentials: each mistake has its own error message."""

import io
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

import pytest

from fedmx.errors import DataError
from fedmx.log import configure
from fedmx.pki import certificates, credentials
from fedmx.pki.authority import Authority
from fedmx.pki.certificates import SERVER, SITE
from tests.fedmx.pki.papers import MESSAGES, Mistakes, credentials_of, make_pki, message_of, open_authority

ROLES = (SERVER, SITE)
ROOT = Path(__file__).parents[3]


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return make_pki(tmp_path_factory.mktemp("pki"))


@pytest.fixture(scope="module")
def mistakes(authority: Authority, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mistakes]:
    """Credentials in a folder that all users can access, unlike pytest's."""
    with tempfile.TemporaryDirectory() as name:
        Path(name).chmod(0o711)
        yield Mistakes(authority, make_pki(tmp_path_factory.mktemp("other")), Path(name))


@pytest.mark.parametrize("role", ROLES)
def test_valid_files_are_a_programs_credentials(role: str, authority: Authority) -> None:
    folder = authority.folder_of(role, "local")
    loaded = credentials.read_credentials(folder, role)
    assert loaded.name == ("server" if role == SERVER else "local")
    assert loaded.authority == (folder / "authority.crt").read_bytes()
    assert loaded.certificate == (folder / f"{role}.crt").read_bytes()
    assert loaded.key == (folder / f"{role}.key").read_bytes()
    assert loaded.paths == (folder / f"{role}.crt", folder / f"{role}.key")


def test_the_key_is_not_in_the_repr_of_credentials(authority: Authority) -> None:
    assert "PRIVATE" not in repr(credentials_of(authority))


@pytest.mark.parametrize("role", ROLES)
@pytest.mark.parametrize("mistake", [mistake for mistake in MESSAGES if mistake != "unreadable key"])
def test_each_mistake_has_its_own_error_message(mistake: str, role: str, mistakes: Mistakes) -> None:
    folder = mistakes.make(mistake, role)
    with pytest.raises(DataError) as caught:
        credentials.read_credentials(folder, role)
    assert re.fullmatch(message_of(mistake, folder, role), str(caught.value)), caught.value


CHILD = """
import os, sys
from pathlib import Path
from fedmx.errors import DataError
from fedmx.pki import credentials

if os.getuid() == 0:
    os.setuid(65534)
try:
    credentials.read_credentials(Path(sys.argv[1]), sys.argv[2])
except DataError as error:
    print(error)
"""


@pytest.mark.parametrize("role", ROLES)
def test_an_unreadable_key_is_reported_with_the_user_id(role: str, mistakes: Mistakes) -> None:
    folder = mistakes.make("unreadable key", role)
    done = subprocess.run(
        [sys.executable, "-c", CHILD, str(folder), role], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert re.fullmatch(message_of("unreadable key", folder, role) + "\n", done.stdout), done.stdout
    assert f"(uid {65534 if os.getuid() == 0 else os.getuid()})" in done.stdout


def test_a_folder_in_place_of_a_file_is_a_one_line_error(tmp_path: Path) -> None:
    (tmp_path / "authority.crt").mkdir()
    with pytest.raises(DataError, match=r"authority\.crt: Is a directory; expected a file that this user"):
        credentials.read_credentials(tmp_path, SITE)


@pytest.mark.parametrize(
    ("clock", "problem"),
    [
        ("2026-01-01T00:00", "not valid before 2026-01-02 03:04 UTC (now: 2026-01-01 00:00)"),
        ("2026-01-02T03:04", None),
        ("2026-01-12T03:04", None),
        ("2026-01-12T03:05", "expired on 2026-01-12 03:04 UTC (now: 2026-01-12 03:05)"),
    ],
)
def test_a_certificate_is_valid_from_its_first_minute_to_its_last(
    clock: str, problem: str | None, tmp_path: Path
) -> None:
    # A certificate is valid from an hour before it is issued, because clocks differ.
    issued = datetime.fromisoformat("2026-01-02T04:04+00:00")
    authority = open_authority(tmp_path, issued, certificate_days=9 + 23 / 24)
    with authority.locked():
        authority.create()
    authority.issue_site("north")
    certificate = certificates.read_certificate(tmp_path / "sites/north/site.crt", "")
    assert certificates.find_date_problem(certificate, datetime.fromisoformat(f"{clock}+00:00")) == problem


@pytest.mark.parametrize("role", ROLES)
def test_without_tls_nothing_is_read_and_every_start_warns(role: str) -> None:
    stream = io.StringIO()
    configure("INFO", "text", stream)
    for _ in range(2):
        assert credentials.load_credentials(role, Path("/nowhere"), "insecure") is None
    lines = stream.getvalue().splitlines()
    assert len(lines) == 2
    assert all("WARNING LINK_SECURITY=insecure: " in line for line in lines)


@pytest.mark.parametrize("role", ROLES)
def test_each_program_loads_the_files_of_its_role(role: str, authority: Authority) -> None:
    loaded = credentials.load_credentials(role, authority.folder_of(role, "local"), "mtls")
    assert loaded == credentials_of(authority, "server" if role == SERVER else "local")


@pytest.mark.parametrize(("role", "days", "count"), [(SERVER, 29.9, 1), (SERVER, 30.1, 0), (SITE, 29.9, 0)])
def test_a_server_warns_at_its_start_of_an_authority_that_expires_within_30_days(
    role: str, days: float, count: int, tmp_path: Path
) -> None:
    expiring = open_authority(tmp_path, authority_days=days)
    with expiring.locked():
        expiring.ensure()
    stream = io.StringIO()
    configure("INFO", "text", stream)
    assert credentials.load_credentials(role, expiring.folder_of(role, "local"), "mtls") is not None
    warnings = re.findall(r"WARNING the authority expires soon.* expires=\d{4}-\d\d-\d\d", stream.getvalue())
    assert len(warnings) == count
