"""The authority's files: repaired if damaged, reissued in time, and readable only by their owner."""

import dataclasses
import json
import os
import re
import shutil
import stat
import threading
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from fedmx import settings as settings_module
from fedmx.deployment_settings import PkiSettings
from fedmx.errors import DataError
from fedmx.pki import credentials, csr, signing
from fedmx.pki.authority import LOCAL_SITE, Authority
from fedmx.pki.certificates import SERVER, SITE
from fedmx.pki.renewal import renew
from fedmx.pki.server_names import ALWAYS_NAMED
from tests.bounds import HANG_S
from tests.extremes import list_accepted, list_numeric
from tests.fedmx.pki.papers import IN_A_YEAR, LONG_AGO, ask_python, load, make_pki, open_authority, read_all

# Fields that entries of older registers lack.
NEW_FIELDS = {"since", "hosts", "reason"}


@pytest.mark.parametrize("mask", [0, 0o077, 0o277])
def test_only_their_owner_can_read_keys_under_every_umask(mask: int, tmp_path: Path) -> None:
    before = os.umask(mask)
    try:
        made = make_pki(tmp_path / "pki", "north")
        csr.create("south", tmp_path / "south")
    finally:
        os.umask(before)
    keys = [*made.folder.rglob("*.key"), tmp_path / "south" / "site.key"]
    assert len(keys) == 5
    assert {stat.S_IMODE(key.stat().st_mode) for key in keys} == {0o600}
    assert {stat.S_IMODE(path.stat().st_mode) for path in made.folder.rglob("*.crt")} == {0o644}
    assert stat.S_IMODE((made.folder / "authority").stat().st_mode) & 0o077 == 0


def test_the_authoritys_key_is_in_one_place(changing: Authority) -> None:
    files_of_all = read_all(changing.folder)
    key = files_of_all["authority/authority.key"]
    assert [path for path, data in files_of_all.items() if key in data] == ["authority/authority.key"]


def test_a_second_ensure_changes_nothing(changing: Authority) -> None:
    before = read_all(changing.folder)
    assert open_authority(changing.folder).ensure() == []
    assert read_all(changing.folder) == before


def test_a_second_authority_is_refused(changing: Authority) -> None:
    before = read_all(changing.folder)
    with pytest.raises(DataError, match=r"authority: an authority exists already; expected no"):
        changing.create()
    (changing.folder / "authority" / "authority.crt").unlink()
    with pytest.raises(DataError, match=r"authority: authority\.crt is missing; expected no authority"):
        changing.ensure()
    rest = read_all(changing.folder)
    assert {**rest, "authority/authority.crt": before["authority/authority.crt"]} == before


def damage(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-100])


# How a folder of credentials is spoiled, by what is found to be wrong.
NEEDS: dict[str, Callable[[Path, str, Path], object]] = {
    r"not a valid PEM certificate": lambda folder, role, _: damage(folder / f"{role}.crt"),
    r"not a valid PEM private key": lambda folder, role, _: damage(folder / f"{role}.key"),
    r"authority\.crt: not a valid PEM certificate": lambda folder, _role, _: damage(folder / "authority.crt"),
    r"\.crt: no such file": lambda folder, role, _: (folder / f"{role}.crt").unlink(),
    r"\.key: no such file": lambda folder, role, _: (folder / f"{role}.key").unlink(),
    r"authority\.crt: no such file": lambda folder, _role, _: (folder / "authority.crt").unlink(),
    r"not the key of": lambda folder, role, other: shutil.copy(other / f"{role}.key", folder),
    r"not issued by the authority of": lambda folder, role, other: shutil.copy(other / f"{role}.crt", folder),
    r"its certificate belongs to another authority": lambda folder, _role, other: shutil.copytree(
        other, folder, dirs_exist_ok=True
    ),
}


@pytest.fixture(scope="module")
def other(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return make_pki(tmp_path_factory.mktemp("other"))


@pytest.mark.parametrize("role", [SERVER, SITE])
@pytest.mark.parametrize("reason", NEEDS)
def test_ensure_reissues_only_what_is_damaged_or_does_not_match(
    reason: str, role: str, changing: Authority, other: Authority
) -> None:
    folder = changing.folder_of(role, LOCAL_SITE)
    NEEDS[reason](folder, role, other.folder_of(role, LOCAL_SITE))
    need = changing.find_need(role, LOCAL_SITE if role == SITE else "")
    assert need is not None
    assert re.search(reason, need), need
    assert [one.role for one in changing.ensure()] == [role]
    credentials.read_credentials(folder, role)
    assert changing.ensure() == []


def test_a_site_with_another_sites_files_is_reissued(changing: Authority) -> None:
    shutil.copytree(
        changing.folder_of(SITE, "north"), changing.folder_of(SITE, LOCAL_SITE), dirs_exist_ok=True
    )
    assert changing.find_need(SITE, LOCAL_SITE) == "its certificate belongs to another site"
    assert [one.name for one in changing.ensure()] == [LOCAL_SITE]


def names_of(authority: Authority) -> set[str]:
    """Return the names in the server's certificate."""
    return set(signing.hosts_in(load(authority.folder / "server" / "server.crt")))


NAMED = {*ALWAYS_NAMED, "fl.example.org", "192.0.2.7"}


def make_named(folder: Path) -> Authority:
    """Create an authority whose server has two added names, opened without SERVER_NAMES."""
    make_pki(folder, server_names=("fl.example.org", "192.0.2.7"))
    return open_authority(folder)


def test_the_servers_certificate_is_reissued_when_a_name_is_added(changing: Authority) -> None:
    key = (changing.folder / "server" / "server.key").read_bytes()
    wider = open_authority(changing.folder, server_names=("fl.example.org",))
    assert wider.find_need(SERVER) == "names added (fl.example.org)"
    (made,) = wider.ensure()
    assert (made.role, made.reason) == (SERVER, "names added (fl.example.org)")
    assert ask_python(changing.folder / "server", "fl.example.org")
    assert (changing.folder / "server" / "server.key").read_bytes() != key


@pytest.mark.parametrize("command", [Authority.ensure, renew])
def test_a_command_without_names_changes_nothing_if_nothing_expires(
    command: Callable[[Authority], object], tmp_path: Path
) -> None:
    authority = make_named(tmp_path)
    before = read_all(tmp_path)
    assert command(authority) == []
    assert read_all(tmp_path) == before


@pytest.mark.parametrize("command", [Authority.ensure, renew, Authority.issue_server])
def test_added_names_survive_every_reissue(command: Callable[[Authority], object], tmp_path: Path) -> None:
    make_named(tmp_path)
    late = open_authority(tmp_path, IN_A_YEAR)
    command(late)
    assert names_of(late) == NAMED
    assert "names" not in next(one.reason for one in reversed(late.list()) if one.role == SERVER)


@pytest.mark.parametrize("loss", [damage, Path.unlink])
def test_names_are_read_from_the_register_if_the_certificate_is_lost(
    loss: Callable[[Path], object], tmp_path: Path
) -> None:
    authority = make_named(tmp_path)
    loss(tmp_path / "server" / "server.crt")
    assert [one.role for one in authority.ensure()] == [SERVER]
    assert names_of(authority) == NAMED


def test_removing_a_name_keeps_the_others(tmp_path: Path) -> None:
    make_named(tmp_path)
    narrower = open_authority(tmp_path, server_names=("-192.0.2.7", "new.example.org"))
    (made,) = narrower.ensure()
    assert made.reason == "names added (new.example.org), names removed (192.0.2.7)"
    expected = {*ALWAYS_NAMED, "fl.example.org", "new.example.org"}
    assert names_of(narrower) == expected
    assert set(made.hosts) == expected
    assert narrower.ensure() == []
    assert open_authority(tmp_path).ensure() == [], "a removed name does not come back"


def test_a_register_without_names_keeps_those_of_the_certificate(tmp_path: Path) -> None:
    authority = make_named(tmp_path)
    path = tmp_path / "authority" / "issued.json"
    entries = json.loads(path.read_text())
    path.write_text(json.dumps([{k: v for k, v in one.items() if k not in NEW_FIELDS} for one in entries]))
    authority.issue_server()
    assert names_of(authority) == NAMED


@pytest.mark.parametrize("names", [("192.0.2.7", "::ffff:192.0.2.7"), ("2001:DB8::7",), ("FL.Example.org",)])
def test_another_spelling_of_a_name_is_no_change(names: tuple[str, ...], tmp_path: Path) -> None:
    settings = settings_module.load(
        PkiSettings, environ={"SERVER_NAMES": ",".join(names), "PKI_DIR": str(tmp_path)}
    )
    with Authority(settings).locked():
        Authority(settings).ensure()
        assert Authority(settings).ensure() == []


def test_certificates_that_expire_within_renew_days_are_reissued(changing: Authority) -> None:
    ends = datetime.now(UTC) + timedelta(days=365)
    assert open_authority(changing.folder, ends - timedelta(days=30.1)).ensure() == []
    assert open_authority(changing.folder, ends - timedelta(days=29.9), renew_days=5.0).ensure() == []
    late = open_authority(changing.folder, ends - timedelta(days=29.9))
    assert late.find_need(SERVER) == "its certificate expires within RENEW_DAYS=30 days"
    assert [one.name for one in late.ensure()] == ["server", LOCAL_SITE]
    expired = open_authority(changing.folder, IN_A_YEAR + timedelta(days=700))
    assert "expired on" in str(expired.find_need(SERVER))
    assert [one.name for one in expired.ensure()] == ["server", LOCAL_SITE]


def test_an_expired_authority_signs_nothing(tmp_path: Path) -> None:
    with open_authority(tmp_path, LONG_AGO, authority_days=10.0).locked():
        open_authority(tmp_path, LONG_AGO, authority_days=10.0).create()
    with pytest.raises(DataError, match=r"authority\.crt: expired on .* expected a valid authority"):
        open_authority(tmp_path).ensure()


@pytest.mark.parametrize("command", [Authority.issue_server, renew])
def test_without_an_authority_nothing_is_issued(
    command: Callable[[Authority], object], tmp_path: Path
) -> None:
    with pytest.raises(DataError, match="no authority found; create one with `python -m server pki init`"):
        command(open_authority(tmp_path))


def test_one_command_waits_for_another(changing: Authority) -> None:
    other = open_authority(changing.folder)
    entered = threading.Event()

    def enter() -> None:
        with other.locked():
            entered.set()

    waiting = threading.Thread(target=enter, daemon=True)
    with changing.locked():
        waiting.start()
        assert not entered.wait(0.2)
    assert entered.wait(HANG_S)
    waiting.join()


@pytest.mark.parametrize("name", list_numeric(PkiSettings))
def test_certificates_are_issued_for_every_accepted_number_of_days(name: str, tmp_path: Path) -> None:
    for index, settings in enumerate(list_accepted(PkiSettings, name).values()):
        authority = Authority(dataclasses.replace(settings, pki_dir=tmp_path / str(index)))
        # An authority that is valid for less than a second has expired before it can sign.
        with authority.locked(), suppress(DataError):
            authority.ensure()
            assert load(authority.folder / "server" / "server.crt").not_valid_after_utc.year < 2200
