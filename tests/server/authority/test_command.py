"""`python -m server pki`: the output and the files of each command; bundles are in test_bundle_command.py."""

import io
import re
import sys
from pathlib import Path

import pytest

from fedmx.errors import DataError, SettingsError
from fedmx.pki import certificates, credentials, csr
from fedmx.pki.certificates import SERVER, SITE
from server.__main__ import main
from tests.bounds import HANG_S
from tests.federation.programs import start_command
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


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            (),
            "python -m server pki: the following arguments are required: COMMAND; see `python",
        ),
        (("innit",), "python -m server pki: argument COMMAND: invalid choice: 'innit'"),
        (
            ("site",),
            "python -m server pki site: the following arguments are required: name; see `",
        ),
        (("list", "all"), "python -m server: unrecognized arguments: all; see `python"),
        (("bundle", "a", "b"), "SERVER_ADDRESS='b': expected host:port, or [address]:port for IPv6"),
        (
            ("bundle", "a", "0.0.0.0:1"),
            "SERVER_ADDRESS='0.0.0.0:1': 0.0.0.0 means all addresses",
        ),
    ],
)
def test_wrong_arguments_are_a_one_line_error(arguments: tuple[str, ...], message: str, folder: Path) -> None:
    with pytest.raises(SettingsError) as caught:
        main(["pki", *arguments])
    (line,) = caught.value.problems
    assert line.startswith(message)
    assert "\n" not in line
    assert not folder.exists()


@pytest.mark.parametrize(
    ("name", "text"),
    [("CERTIFICATE_DAYS", "0"), ("SERVER_NAMES", "fl.example.org:8080"), ("RENEW_DAYS", "-1")],
)
def test_wrong_settings_are_reported_by_name(
    name: str, text: str, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(name, text)
    with pytest.raises(SettingsError, match=rf"^{name}='{text}': expected"):
        main(["pki", "ensure"])
    assert not folder.exists()


def test_concurrent_commands_create_one_authority_and_one_certificate_each(tmp_path: Path) -> None:
    both = [start_command("pki", "ensure", PKI_DIR=tmp_path) for _ in range(2)]
    output = [process.communicate(timeout=HANG_S) for process in both]
    assert [(process.returncode, err) for process, (_, err) in zip(both, output, strict=True)] == [
        (0, "")
    ] * 2
    assert sorted(len(out.splitlines()) for out, _ in output) == [0, 3]
    assert credentials.read_credentials(tmp_path / "server", SERVER).name == "server"
    assert credentials.read_credentials(tmp_path / "sites" / "local", SITE).name == "local"


def test_mistakes_exit_with_2_and_help_with_0(tmp_path: Path) -> None:
    runs = {
        ("nonsense",): (2, r".*: unrecognized arguments: nonsense; .*\n"),
        ("pki", "revoke", "x"): (2, r"site 'x' has no certificate to revoke; .*: none\n"),
        ("pki", "--help"): (0, ""),
    }
    started = [(start_command(*arguments, PKI_DIR=tmp_path), *wanted) for arguments, wanted in runs.items()]
    for process, code, message in started:
        out, err = process.communicate(timeout=HANG_S)
        assert process.returncode == code, err
        assert re.fullmatch(message, err), err
        assert out.startswith("usage: python -m server pki") == (code == 0)


def test_clients_of_another_server_are_refused_before_an_authority_is_created(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The environment of the tests is not a container's.
    monkeypatch.setattr("server.authority.command.check_container", lambda _: None)
    monkeypatch.setenv("SERVER_ADDRESS", "fl.example.org:8080")
    with pytest.raises(SettingsError) as caught:
        main(["pki", "ensure", "--container"])
    [line] = caught.value.problems
    assert line.startswith("SERVER_ADDRESS=fl.example.org:8080: ")
    assert "make bundle SITE=NAME SERVER_ADDRESS=fl.example.org:8080" in line
    assert "make client BUNDLE=" in line
    assert not list(folder.rglob("*.key"))


@pytest.mark.parametrize(
    "given",
    [
        {"SERVER_ADDRESS": "server:8080"},
        {"SERVER_ADDRESS": "localhost:9000"},
        {"SERVER_ADDRESS": "fl.example.org:8080", "SERVER_NAMES": "fl.example.org"},
        {"SERVER_ADDRESS": "fl.example.org:8080", "LINK_SECURITY": "insecure"},
        {"SERVER_ADDRESS": "server:8080", "DEVICE": "tpu"},
    ],
)
def test_clients_of_this_server_are_accepted(
    folder: Path, given: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("server.authority.command.check_container", lambda _: None)
    for name, text in given.items():
        monkeypatch.setenv(name, text)
    main(["pki", "ensure", "--container"])
    assert (folder / "authority").exists()
