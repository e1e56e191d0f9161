"""`python -m server pki fleet`: who may join a SuperLink fleet, and the files of its services."""

import stat
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import load_ssh_private_key

from fedmx.errors import DataError, SettingsError
from fedmx.pki.certificates import SITE
from server.__main__ import main
from server.authority.fleet import KEY_FILE, MEMBERS_FILE, SECRET_FILE
from tests.fedmx.pki.papers import load, open_authority, read_all
from tests.server.authority.conftest import Command


def read_stable(folder: Path) -> dict[str, bytes]:
    """Read all files but the keys, whose form has a random number."""
    return {path: data for path, data in read_all(folder).items() if not path.endswith(KEY_FILE)}


@pytest.fixture
def command(folder: Path, capsys: pytest.CaptureFixture[str]) -> Command:
    """Carries out a command and returns the lines of its output."""

    def do(*arguments: str) -> list[str]:
        main(["pki", *arguments])
        return capsys.readouterr().out.splitlines()

    return do


def read_members(folder: Path) -> list[str]:
    return [
        line.split()[-1] for line in (folder / "fleet" / "superlink" / MEMBERS_FILE).read_text().splitlines()
    ]


def test_each_supernode_of_this_machine_has_a_key_of_its_own_and_shares_a_secret_with_its_apps(
    command: Command, folder: Path
) -> None:
    lines = command("fleet", "--supernodes", "2")
    assert sum("site supernode-" in line for line in lines) == 2
    assert lines[-1] == "sites that may join the fleet: supernode-1, supernode-2"
    fleet = folder / "fleet"
    keys = []
    for number in ("1", "2"):
        path = fleet / "supernodes" / number / KEY_FILE
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        certificate = load(open_authority(folder).folder_of(SITE, f"supernode-{number}") / "site.crt")
        assert load_ssh_private_key(path.read_bytes(), None).public_key() == certificate.public_key()
        keys.append(path.read_bytes())
    secrets = {path.parent: path.read_bytes() for path in fleet.rglob(SECRET_FILE)}
    assert keys[0] != keys[1]
    assert len(secrets) == 5
    assert len(set(secrets.values())) == 3
    for number in ("1", "2"):
        assert secrets[fleet / "supernodes" / number] == secrets[fleet / "clientapps" / number]
    assert {stat.S_IMODE(path.stat().st_mode) for path in fleet.rglob(SECRET_FILE)} == {0o600}
    before = read_stable(fleet)
    assert command("fleet", "--supernodes", "2") == [lines[-1]]
    assert read_stable(fleet) == before


def test_no_part_of_a_fleet_contains_the_authoritys_key_or_a_key_of_another_part(
    command: Command, folder: Path
) -> None:
    command("fleet", "--supernodes", "1")
    command("site", "hospital-a")
    command("fleet", "--supernodes", "1")
    files = {path.relative_to(folder / "fleet").as_posix() for path in (folder / "fleet").rglob("*.*")}
    assert files == {
        "superlink/authority.crt",
        f"superlink/{MEMBERS_FILE}",
        f"superlink/{SECRET_FILE}",
        "supernodes/authority.crt",
        f"supernodes/1/{KEY_FILE}",
        f"supernodes/1/{SECRET_FILE}",
        f"clientapps/1/{SECRET_FILE}",
    }


def test_sites_with_a_valid_certificate_may_join_and_the_direct_links_own_site_is_none(
    command: Command, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    command("fleet")
    assert read_members(folder) == []
    command("site", "hospital-b")
    command("site", "hospital-a")
    command("fleet", "--supernodes", "1")
    assert read_members(folder) == ["hospital-a", "hospital-b", "supernode-1"]
    (line,) = command("ssh-key", "hospital-a")
    assert line in (folder / "fleet" / "superlink" / MEMBERS_FILE).read_text()
    command("revoke", "hospital-a")
    command("revoke", "supernode-1")
    command("fleet", "--supernodes", "1")
    assert read_members(folder) == ["hospital-b"]
    monkeypatch.setenv("CERTIFICATE_DAYS", "0.00000001")
    command("site", "hospital-b")
    command("fleet")
    assert read_members(folder) == []


def test_a_supernode_keeps_its_key_when_its_certificate_is_renewed_but_not_when_it_was_revoked(
    command: Command, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    command("fleet", "--supernodes", "1")
    (old,) = command("ssh-key", "supernode-1")
    monkeypatch.setenv("RENEW_DAYS", "400")
    lines = command("fleet", "--supernodes", "1")
    assert sum("site supernode-1," in line for line in lines) == 1
    assert command("ssh-key", "supernode-1") == [old]
    monkeypatch.delenv("RENEW_DAYS")
    command("revoke", "supernode-1")
    command("site", "supernode-1")
    command("fleet", "--supernodes", "1")
    (new,) = command("ssh-key", "supernode-1")
    assert new != old
    assert (folder / "fleet" / "superlink" / MEMBERS_FILE).read_text() == f"{new}\n"


def test_a_damaged_key_is_replaced_or_named_in_one_line(command: Command, folder: Path) -> None:
    command("fleet", "--supernodes", "2")
    key = open_authority(folder).folder_of(SITE, "supernode-2") / "site.key"
    key.write_text("damaged")
    command("fleet", "--supernodes", "2")
    path = folder / "fleet" / "supernodes" / "2" / KEY_FILE
    certificate = load(key.with_name("site.crt"))
    assert load_ssh_private_key(path.read_bytes(), None).public_key() == certificate.public_key()
    key.write_text("damaged")
    with pytest.raises(DataError, match=r"supernode-2/site\.key: not a valid PEM private key"):
        command("fleet", "--supernodes", "1")


def test_wrong_arguments_are_reported_in_one_line(command: Command) -> None:
    with pytest.raises(SettingsError, match="--supernodes"):
        command("fleet", "--supernodes", "many")
    command("fleet")
    with pytest.raises(DataError, match=r"site\.crt: no such file; expected a site that has a certificate"):
        command("ssh-key", "nowhere")
