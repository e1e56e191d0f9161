"""`python -m server pki` with wrong arguments or settings, from several processes, and for other servers."""

import re
from pathlib import Path

import pytest

from fedmx.errors import SettingsError
from fedmx.pki import credentials
from fedmx.pki.certificates import SERVER, SITE
from server.__main__ import main
from tests.bounds import HANG_S
from tests.federation.programs import start_command


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
