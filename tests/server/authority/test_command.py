"""`python -m server pki`: the output and the files of each command; bundles are in test_bundle_command.py."""

import io
import re
import sys
from pathlib import Path

import pytest

from fedmx.errors import DataError
from fedmx.pki import certificates, credentials, csr
from fedmx.pki.certificates import SERVER, SITE
from server.__main__ import main
from tests.fedmx.pki.papers import LONG_AGO, ask_python, open_authority, read_all
from tests.server.authority.conftest import Command

UNTIL = r"valid until \d{4}-\d\d-\d\d"


def test_an_authority_is_created_once(command: Command, folder: Path) -> None:
    assert command("init") == [f"created the authority in {folder}/authority; keep its key there, and secret"]
    with pytest.raises(DataError, match="an authority exists already"):
        command("init")


def test_ensure_prints_what_it_issued_and_otherwise_nothing(
    command: Command, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lines = command("ensure")
    assert len(lines) == 3
    assert lines[0] == f"created the authority in {folder}/authority"
    assert re.fullmatch(rf"issued a certificate to the server, {UNTIL}, in {folder}/server", lines[1])
    assert re.fullmatch(rf"issued a certificate to site local, {UNTIL}, in {folder}/sites/local", lines[2])
    assert command("ensure") == []
    monkeypatch.setenv("SERVER_NAMES", "fl.example.org, 192.0.2.7")
    (line,) = command("ensure")
    assert line.startswith("issued a certificate to the server, ")
    assert "names added (fl.example.org, 192.0.2.7)" in line
    assert "restarted" in line
    assert ask_python(folder / "server", "fl.example.org")
    assert command("ensure") == []


@pytest.mark.parametrize("name", ["ensure", "server", "renew"])
def test_the_servers_names_stay_without_server_names(
    name: str, command: Command, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SERVER_NAMES", "fl.example.org")
    command("ensure")
    monkeypatch.delenv("SERVER_NAMES")
    assert "fl.example.org" not in "".join(command(name))
    assert ask_python(folder / "server", "fl.example.org")


@pytest.mark.parametrize("name", ["ensure", "list", "renew", "server"])
def test_an_authority_that_expires_soon_is_a_warning_of_every_command_that_shows_certificates(
    name: str, monkeypatch: pytest.MonkeyPatch, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("AUTHORITY_DAYS", "10")
    monkeypatch.setenv("RENEW_DAYS", "5")
    main(["pki", "ensure"])
    assert capsys.readouterr().err == ""
    monkeypatch.setenv("RENEW_DAYS", "11")
    main(["pki", name])
    [line] = capsys.readouterr().err.splitlines()
    assert re.search(r"^WARNING the authority expires on \d{4}-\d\d-\d\d", line)


def test_list_still_prints_the_certificates_of_an_authority_that_has_expired_or_is_lost(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    expired = open_authority(folder, LONG_AGO, authority_days=10.0)
    with expired.locked():
        expired.ensure()
    main(["pki", "list"])
    output = capsys.readouterr()
    assert re.search(r"^server +server +expired", output.out, re.MULTILINE)
    assert re.search(r"^WARNING the authority expired on \d{4}-\d\d-\d\d", output.err)
    (folder / "authority" / "authority.crt").unlink()
    main(["pki", "list"])
    assert capsys.readouterr() == (output.out, "")


@pytest.mark.parametrize("name", ["ensure", "server", "renew"])
def test_a_name_is_removed_by_every_command_that_issues_the_servers_certificate(
    name: str, command: Command, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SERVER_NAMES", "fl.example.org")
    command("ensure")
    monkeypatch.setenv("SERVER_NAMES", "-fl.example.org")
    (line,) = command(name)
    assert "names removed (fl.example.org)" in line
    assert not ask_python(folder / "server", "fl.example.org")


def test_removing_an_unknown_name_is_a_warning(
    command: Command, monkeypatch: pytest.MonkeyPatch, capsysbinary: pytest.CaptureFixture[bytes]
) -> None:
    command("ensure")
    monkeypatch.setenv("SERVER_NAMES", "-fl.exmaple.org")
    main(["pki", "ensure"])
    output = capsysbinary.readouterr()
    assert output.out == b""
    (line,) = output.err.decode().splitlines()
    assert re.search(r"^WARNING SERVER_NAMES=-fl\.exmaple\.org: .*localhost", line)


def test_server_and_site_issue_certificates(command: Command, folder: Path) -> None:
    command("init")
    (line,) = command("server")
    assert re.fullmatch(rf"issued a certificate to the server, {UNTIL}, in {folder}/server", line)
    (line,) = command("site", "hospital-a")
    assert re.fullmatch(
        rf"issued a certificate to site hospital-a, {UNTIL}, in {folder}/sites/hospital-a", line
    )
    assert credentials.read_credentials(folder / "server", SERVER).name == "server"
    assert credentials.read_credentials(folder / "sites" / "hospital-a", SITE).name == "hospital-a"


TIME = r"\d{4}-\d\d-\d\dT\d\d:\d\dZ"


def test_issuing_the_servers_certificate_creates_the_authority(
    command: Command, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SERVER_NAMES", "fl.example.org")
    made, issued = command("server")
    assert str(folder / "authority") in made
    assert issued.startswith("issued a certificate to the server, ")
    assert ask_python(folder / "server", "fl.example.org")


def test_a_site_that_keeps_its_own_key_gets_another_only_after_revocation(
    command: Command, folder: Path, tmp_path: Path, capsysbinary: pytest.CaptureFixture[bytes]
) -> None:
    command("ensure")
    command("sign", "south", str(csr.create("south", tmp_path / "own")))
    before = read_all(folder)
    with pytest.raises(DataError, match=r"^site south: .*`python -m server pki revoke south`$"):
        command("site", "south")
    assert read_all(folder) == before
    command("revoke", "south")
    main(["pki", "site", "south"])
    assert capsysbinary.readouterr().err.startswith(b"WARNING site south was revoked")
    assert (folder / "sites" / "south" / "site.key").exists()


@pytest.mark.parametrize("way", ["site", "sign", "bundle", "bundle with a request"])
def test_issuing_a_certificate_for_a_revoked_site_warns(
    way: str, command: Command, tmp_path: Path, capsysbinary: pytest.CaptureFixture[bytes]
) -> None:
    command("ensure")
    command("site", "north")
    command("revoke", "north")
    request = str(csr.create("north", tmp_path / "own"))
    arguments = {
        "site": ["site", "north"],
        "sign": ["sign", "north", request],
        "bundle": ["bundle", "north", "localhost:8080"],
        "bundle with a request": ["bundle", "north", "localhost:8080", "--request", request],
    }
    for count in (1, 0):
        main(["pki", *arguments[way]])
        assert capsysbinary.readouterr().err.count(b"WARNING site north was revoked") == count


def test_list_prints_every_certificate_with_its_state(
    command: Command, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert command("list") == ["no certificates issued"]
    command("ensure")
    command("site", "north")
    command("site", "north")
    replaced = own_serial_of(folder, "north")
    command("site", "north")
    command("site", "gone")
    command("revoke", "gone")
    # Certificates have whole seconds, so this one expires at once.
    monkeypatch.setenv("CERTIFICATE_DAYS", "1e-9")
    command("site", "late")
    header, *lines, empty, names = command("list")
    assert header.split() == ["ROLE", "NAME", "STATE", "ISSUED", "EXPIRES", "SERIAL"]
    assert empty == ""
    assert names.split(": ")[1] == "127.0.0.1, ::1, localhost, server"
    line = rf"(\S+) +(\S+) +(current|replaced|revoked|expired) +{TIME} +{TIME} +([0-9a-f]+)"
    found = [match.groups() for match in (re.fullmatch(line, text) for text in lines) if match]
    assert [(role, name, state) for role, name, state, _ in found] == [
        ("server", "server", "current"),
        ("site", "gone", "revoked"),
        ("site", "late", "expired"),
        ("site", "local", "current"),
        ("site", "north", "current"),
        ("site", "north", "replaced"),
        ("site", "north", "replaced"),
    ]
    assert [serial for *_, serial in found[4:6]] == [own_serial_of(folder, "north"), replaced]


def own_serial_of(folder: Path, name: str) -> str:
    return certificates.serial_of(certificates.read_certificate(folder / "sites" / name / "site.crt", ""))


def test_revoke_revokes_a_site_by_name(command: Command, folder: Path) -> None:
    command("ensure")
    command("site", "north")
    serial = own_serial_of(folder, "north")
    assert command("revoke", "north") == [
        f"revoked site north, serial {serial}; a running server disconnects it within 10 s"
    ]
    assert (folder / "server" / "revoked.txt").read_text() == f"{serial}\n"
    with pytest.raises(DataError, match=r"^site 'nroth' has no certificate to revoke; sites with"):
        command("revoke", "nroth")


def test_renew_prints_what_it_issued_or_that_nothing_expires(
    command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    command("ensure")
    command("site", "north")
    (line,) = command("renew")
    assert "RENEW_DAYS=30" in line
    monkeypatch.setenv("RENEW_DAYS", "366")
    monkeypatch.setenv("CERTIFICATE_DAYS", "400")
    output = command("renew")
    assert [line.split(",")[0] for line in output] == [
        "issued a certificate to the server",
        "issued a certificate to site local",
        "issued a certificate to site north",
    ]
    assert all("RENEW_DAYS=366" in line for line in output)
    (line,) = command("renew")
    assert "RENEW_DAYS=366" in line


def test_renew_lists_the_sites_that_must_send_a_request(
    command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    command("ensure")
    command("sign", "south", str(csr.create("south", tmp_path / "own")))
    monkeypatch.setenv("RENEW_DAYS", "366")
    monkeypatch.setenv("CERTIFICATE_DAYS", "400")
    for count in (3, 1):
        lines = command("renew")
        assert len(lines) == count
        assert re.search(r"not renewed.*south.*RENEW_DAYS=366", lines[-1])


@pytest.mark.parametrize("way", ["file", "standard input"])
def test_a_request_is_signed_from_a_file_or_standard_input(
    way: str, command: Command, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    command("init")
    request = csr.create("south", tmp_path / "own")
    if way == "standard input":
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(request.read_bytes())))
    (line,) = command("sign", "south", str(request) if way == "file" else "-")
    assert re.fullmatch(rf"issued a certificate to site south, {UNTIL}, in {folder}/sites/south", line)
    assert sorted(p.name for p in (folder / "sites" / "south").iterdir()) == ["authority.crt", "site.crt"]
    with pytest.raises(DataError, match=r"^/nowhere: No such file or directory; expected the file of a"):
        command("sign", "south", "/nowhere")
