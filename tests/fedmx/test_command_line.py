"""The arguments of the programs."""

import dataclasses
import re
import subprocess
import sys
from pathlib import Path

import pytest

from fedmx import __version__
from fedmx.deployment_settings import LocalSettings, PkiSettings
from fedmx.settings import ClientSettings, ServerSettings

ROOT = Path(__file__).resolve().parents[2]
PROGRAMS: dict[str, list[type]] = {
    "server": [ServerSettings, PkiSettings],
    "client": [ClientSettings],
    "local": [LocalSettings, ServerSettings, ClientSettings],
}


def run(program: str, *arguments: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-m", program, *arguments],
        cwd=ROOT,
        env={},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize("program", PROGRAMS)
def test_help_lists_every_setting_once_and_the_commands(program: str) -> None:
    done = run(program, "--help")
    assert (done.returncode, done.stderr) == (0, "")
    listed = [line.split("=")[0].strip() for line in done.stdout.splitlines() if line.startswith("  ")]
    settings = [
        line.split("=")[0].strip() for line in done.stdout.splitlines() if re.match("  [A-Z_]+=", line)
    ]
    for name in {field.name.upper() for kind in PROGRAMS[program] for field in dataclasses.fields(kind)}:
        # Server and client have a folder each.
        assert settings.count(name) == (2 if (program, name) == ("local", "CERTS_DIR") else 1), name
    assert any(line.startswith("pki ") for line in listed) == (program != "local")


@pytest.mark.parametrize("program", PROGRAMS)
def test_version_prints_the_version(program: str) -> None:
    done = run(program, "--version")
    assert (done.returncode, done.stdout, done.stderr) == (0, f"fedmx {__version__}\n", "")


@pytest.mark.parametrize("program", PROGRAMS)
@pytest.mark.parametrize(
    "arguments", [["--rounds", "5"], ["nonsense"], ["--vers"], ["a\nb"], ["NUM_ROUNDS=5"]]
)
def test_wrong_arguments_are_a_one_line_error_with_exit_code_2(program: str, arguments: list[str]) -> None:
    done = run(program, *arguments)
    assert (done.returncode, done.stdout) == (2, "")
    [line] = done.stderr.splitlines()
    assert " ".join(arguments).replace("\n", "\\n") in line
    assert "--help" in line


@pytest.mark.parametrize("program", ["server", "client"])
def test_a_command_has_its_own_help(program: str) -> None:
    done = run(program, "pki", "--help")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith(f"usage: python -m {program} pki ")
