"""`python -m client pki`: signing requests, and bundles installed for the user of the clients."""

import os
import re
import shutil
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import load_ssh_private_key, load_ssh_public_key

from client.__main__ import main
from fedmx.errors import DataError, SettingsError
from fedmx.pki import credentials
from fedmx.pki.certificates import SITE
from tests.bounds import HANG_S
from tests.federation.programs import ROOT, make_environment
from tests.fedmx.pki.papers import make_pki, read_all

Command = Callable[..., list[str]]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("CERTS_DIR", str(tmp_path / "certs"))
    return tmp_path / "certs"


@pytest.fixture
def command(folder: Path, capsys: pytest.CaptureFixture[str]) -> Command:
    """Carries out a command and returns the lines of its output."""

    def do(*arguments: str) -> list[str]:
        main(["pki", *arguments])
        output = capsys.readouterr()
        assert output.err == ""
        return output.out.splitlines()

    return do


def test_request_writes_a_request_and_a_key_that_only_its_owner_can_read(
    command: Command, folder: Path
) -> None:
    assert command("request", "south") == [
        f"wrote {folder}/site.key, which stays here, and {folder}/south.csr, for the federation's authority"
    ]
    assert stat.S_IMODE((folder / "site.key").stat().st_mode) == 0o600
    assert b"PRIVATE" not in (folder / "south.csr").read_bytes()
    before = read_all(folder)
    with pytest.raises(DataError, match=r"site\.key: a key exists already; expected a folder without one"):
        command("request", "south")
    assert read_all(folder) == before


def test_a_site_with_its_own_key_needs_only_the_returned_certificates(
    command: Command, folder: Path, tmp_path: Path
) -> None:
    command("request", "south")
    authority = make_pki(tmp_path / "pki")
    authority.sign((folder / "south.csr").read_bytes(), "south")
    shutil.copytree(authority.folder_of(SITE, "south"), folder, dirs_exist_ok=True)
    assert credentials.read_credentials(folder, SITE).name == "south"


def test_install_copies_the_bundle_with_a_key_that_only_its_owner_can_read(
    command: Command, folder: Path, tmp_path: Path
) -> None:
    source = make_pki(tmp_path / "pki", "north").folder_of(SITE, "north")
    # Some tools unpack archives with other modes.
    (source / "site.key").chmod(0o644)
    folder.mkdir()
    assert command("install", str(source)) == []
    assert read_all(folder) == read_all(source)
    found = {path.name: path.stat() for path in folder.iterdir()}
    assert {name: stat.S_IMODE(one.st_mode) for name, one in found.items()} == {
        "authority.crt": 0o644,
        "site.crt": 0o644,
        "site.key": 0o600,
    }
    assert {one.st_uid for one in found.values()} == {os.getuid()}
    command("install", str(source))
    assert read_all(folder) == read_all(source)


@pytest.mark.skipif(os.getuid() != 0, reason="only root can change owners")
def test_install_changes_the_owner_of_the_files(command: Command, folder: Path, tmp_path: Path) -> None:
    source = make_pki(tmp_path / "pki", "north").folder_of(SITE, "north")
    folder.mkdir()
    command("install", str(source), "--owner", "10001")
    assert {path.stat().st_uid for path in folder.iterdir()} == {10001}


@pytest.mark.parametrize("owner", ["-1", "-5", "99999999999999", "4294967295", "root", ""])
def test_an_owner_that_is_no_user_id_is_refused(
    owner: str, command: Command, folder: Path, tmp_path: Path
) -> None:
    source = make_pki(tmp_path / "pki", "north").folder_of(SITE, "north")
    with pytest.raises(SettingsError, match="--owner"):
        command("install", str(source), f"--owner={owner}")
    assert not folder.exists()


def test_install_creates_the_folder(command: Command, folder: Path, tmp_path: Path) -> None:
    source = make_pki(tmp_path / "pki", "north").folder_of(SITE, "north")
    command("install", str(source))
    assert read_all(folder) == read_all(source)


def test_invalid_files_are_not_installed(command: Command, folder: Path, tmp_path: Path) -> None:
    source = make_pki(tmp_path / "pki", "north").folder_of(SITE, "north")
    folder.mkdir()
    command("install", str(source))
    before = read_all(folder)
    (source / "site.key").unlink()
    with pytest.raises(
        DataError, match=r"north/site\.key: no such file; expected the files of a site's bundle"
    ):
        command("install", str(source))
    assert read_all(folder) == before


def test_a_folder_that_cannot_be_written_is_a_one_line_error(
    command: Command, folder: Path, tmp_path: Path
) -> None:
    source = make_pki(tmp_path / "pki", "north").folder_of(SITE, "north")
    folder.touch()
    for arguments in (("install", str(source)), ("request", "south")):
        with pytest.raises(
            DataError, match=rf"^{folder}.*: cannot be written: .*; expected a writable folder"
        ):
            command(*arguments)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            (),
            "python -m client pki: the following arguments are required: COMMAND; see `python",
        ),
        (("sign",), "python -m client pki: argument COMMAND: invalid choice: 'sign'"),
        (
            ("request",),
            "python -m client pki request: the following arguments are required: name; see `",
        ),
        (
            ("install", "x", "--owner", "me"),
            "python -m client pki install: argument --owner: me: expected an integer",
        ),
        (
            ("request", "South"),
            "site 'South': ",
        ),
    ],
)
def test_wrong_arguments_are_a_one_line_error(arguments: tuple[str, ...], message: str, folder: Path) -> None:
    with pytest.raises(SettingsError) as caught:
        main(["pki", *arguments])
    (line,) = caught.value.problems
    assert line.startswith(message)
    assert not folder.exists()


def test_mistakes_exit_with_2_and_help_with_0(tmp_path: Path) -> None:
    runs = {
        ("nonsense",): (2, r".*: unrecognized arguments: nonsense; .*\n"),
        ("pki", "request"): (
            2,
            r"python -m client pki request: the following arguments are required: name; .*\n",
        ),
        ("pki", "--help"): (0, ""),
    }
    started = [
        (
            subprocess.Popen(
                [sys.executable, "-m", "client", *arguments],
                cwd=ROOT,
                env=make_environment({"CERTS_DIR": tmp_path}),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
            ),
            *wanted,
        )
        for arguments, wanted in runs.items()
    ]
    for process, code, message in started:
        out, err = process.communicate(timeout=HANG_S)
        assert process.returncode == code, err
        assert re.fullmatch(message, err), err
        assert out.startswith("usage: python -m client pki") == (code == 0)


def test_ssh_key_writes_a_sites_key_in_the_form_of_openssh(
    command: Command, folder: Path, tmp_path: Path
) -> None:
    authority = make_pki(tmp_path / "pki", "south")
    command("install", str(authority.folder_of(SITE, "south")))
    path = tmp_path / "node.key"
    assert command("ssh-key", str(path)) == [f"wrote {path} and {path}.pub"]
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    public = Path(f"{path}.pub").read_text()
    assert public.split()[::2] == ["ecdsa-sha2-nistp256", "south"]
    assert load_ssh_private_key(path.read_bytes(), None).public_key() == load_ssh_public_key(public.encode())
    (folder / "site.key").unlink()
    with pytest.raises(DataError, match=r"site\.key: no such file"):
        command("ssh-key", str(path))
