"""`python -m server pki` in a folder of the test."""

from collections.abc import Callable
from pathlib import Path

import pytest

from server.__main__ import main

Command = Callable[..., list[str]]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("PKI_DIR", str(tmp_path / "pki"))
    return tmp_path / "pki"


@pytest.fixture
def command(folder: Path, capsysbinary: pytest.CaptureFixture[bytes]) -> Command:
    """Carries out a command and returns the lines of its output."""

    def do(*arguments: str) -> list[str]:
        main(["pki", *arguments])
        output = capsysbinary.readouterr()
        assert output.err == b""
        return output.out.decode().splitlines()

    return do
