"""`python -m server pki bundle`: what the archive of a site contains."""

import io
import math
import re
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest

from fedmx.errors import DataError, SettingsError
from fedmx.pki import csr
from fedmx.settings import ClientSettings, load
from server.__main__ import main
from tests.fedmx.pki.papers import read_all
from tests.server.authority.conftest import Command

Pack = Callable[..., dict[str, bytes]]


def test_bundle_reports_on_standard_error_what_it_issued(
    command: Command, capsysbinary: pytest.CaptureFixture[bytes]
) -> None:
    command("ensure")
    for lines in (1, 0):
        main(["pki", "bundle", "north", "localhost:8080"])
        output = capsysbinary.readouterr()
        assert output.err.count(b"issued a certificate to site north") == lines
        assert "north/certs/site.key" in unpack(output.out)


def test_the_local_site_gets_no_bundle(command: Command, folder: Path) -> None:
    command("ensure")
    before = read_all(folder)
    with pytest.raises(DataError, match=r"^site local: "):
        command("bundle", "local", "localhost:8080")
    assert read_all(folder) == before


def unpack(data: bytes) -> dict[str, bytes]:
    with tarfile.open(fileobj=io.BytesIO(data)) as archive:
        members = [(member, archive.extractfile(member)) for member in archive.getmembers()]
        return {member.name: file.read() for member, file in members if file is not None}


@pytest.fixture
def pack(folder: Path, capsysbinary: pytest.CaptureFixture[bytes]) -> Pack:
    """Writes a site's bundle and returns its certificates by name."""

    def do(name: str, *arguments: str) -> dict[str, bytes]:
        main(["pki", "bundle", name, "fl.example.org:8080", *arguments])
        found = unpack(capsysbinary.readouterr().out)
        begin = f"{name}/certs/"
        certs = {path.removeprefix(begin): data for path, data in found.items() if path.startswith(begin)}
        del certs[".gitignore"]
        return certs

    return do


def test_a_bundle_contains_the_sites_key_and_the_next_one_the_same(
    pack: Pack, command: Command, folder: Path
) -> None:
    command("ensure")
    first = pack("north")
    assert first == read_all(folder / "sites" / "north")
    assert sorted(first) == ["authority.crt", "site.crt", "site.key"]
    assert pack("north") == first


def test_a_bundle_contains_the_settings_shared_with_the_server(
    command: Command,
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsysbinary: pytest.CaptureFixture[bytes],
) -> None:
    command("ensure")
    monkeypatch.setenv("MAX_MODEL_BYTES", "12345")
    monkeypatch.setenv("LINK_SECURITY", "insecure")
    main(["pki", "bundle", "north", "fl.example.org:8080"])
    text = unpack(capsysbinary.readouterr().out)["north/docker-compose.yml"].decode()
    for value in ("SERVER_ADDRESS:-fl.example.org:8080", "MAX_MODEL_BYTES:-12345", "LINK_SECURITY:-insecure"):
        assert f"${{{value}}}" in text


def test_a_sites_clients_wait_without_limit_by_default(
    command: Command, capsysbinary: pytest.CaptureFixture[bytes]
) -> None:
    command("ensure")
    main(["pki", "bundle", "north", "fl.example.org:8080"])
    text = unpack(capsysbinary.readouterr().out)["north/docker-compose.yml"].decode()
    (default,) = re.findall(r"\$\{SERVER_WAIT_TIMEOUT:-(.*)\}", text)
    waits = load(ClientSettings, environ={"SERVER_WAIT_TIMEOUT": default}).server_wait_timeout
    assert waits == math.inf


def test_every_bundle_of_a_site_that_keeps_its_own_key_has_none(
    pack: Pack, command: Command, folder: Path, tmp_path: Path
) -> None:
    command("ensure")
    request = csr.create("south", tmp_path / "own")
    first = pack("south", "--request", str(request))
    assert sorted(first) == ["authority.crt", "site.crt"]
    assert pack("south") == first, "no key is made for a site that has its own"
    command("revoke", "south")
    with pytest.raises(DataError, match=r"^site south: its certificate is revoked; "):
        pack("south")


def test_a_bundle_refuses_the_request_of_another_site(
    pack: Pack, command: Command, folder: Path, tmp_path: Path
) -> None:
    command("ensure")
    command("site", "north")
    before = read_all(folder)
    request = csr.create("north", tmp_path / "own")
    with pytest.raises(DataError, match=r"^the request: from site north; expected one from site south$"):
        pack("south", "--request", str(request))
    assert read_all(folder) == before


def test_the_bundle_of_a_revoked_site_has_a_new_certificate(
    pack: Pack, command: Command, folder: Path
) -> None:
    command("ensure")
    first = pack("north")
    command("revoke", "north")
    assert pack("north")["site.crt"] != first["site.crt"]


@pytest.mark.parametrize("name", ["../sites/local", "North", "a.b", "-"])
def test_an_invalid_name_of_a_site_reaches_no_other_files(
    name: str, pack: Pack, command: Command, folder: Path
) -> None:
    command("ensure")
    before = read_all(folder)
    for do in (lambda: pack(name), lambda: command("site", name)):
        with pytest.raises(SettingsError, match="expected at most 32"):
            do()
    assert read_all(folder) == before
