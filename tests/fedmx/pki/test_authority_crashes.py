"""Commands of the authority that crash before each of their writes in turn: the next repairs the files."""

import shutil
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import IO

import pytest

from fedmx import files
from fedmx.pki import certificates, credentials, register, root
from fedmx.pki.authority import LOCAL_SITE
from tests.fedmx.pki.papers import (
    ask_python,
    credentials_of,
    load,
    make_pki,
    open_authority,
    own_serial,
    read_revoked,
)


class Crash(BaseException):
    """Stands for a crash of the machine."""


@contextmanager
def crash_before_write(number: int, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Path]]:
    """Crash before the write of this number; yield the paths that were written."""
    done: list[Path] = []
    original = files.atomic_write

    def write(path: Path, mode: int | None = None) -> AbstractContextManager[IO[bytes]]:
        if len(done) == number:
            raise Crash
        done.append(path)
        return original(path, mode)

    with monkeypatch.context() as patch:
        for module in (root, credentials, register):
            patch.setattr(module, "atomic_write", write)
        yield done


def go_through_crashes(
    folder: Path, do: Callable[[], object], check: Callable[[], object], monkeypatch: pytest.MonkeyPatch
) -> int:
    """Crash a command before each of its writes, always from the same files; return their number."""
    original = folder.with_name("original")
    shutil.copytree(folder, original)
    for number in range(20):
        shutil.rmtree(folder)
        shutil.copytree(original, folder)
        with crash_before_write(number, monkeypatch):
            try:
                do()
            except Crash:
                is_complete = False
            else:
                is_complete = True
        check()
        if is_complete:
            return number
    raise AssertionError("the command never finishes")


def test_an_ensure_that_crashed_anywhere_is_repaired_by_the_next(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "pki"
    (folder / "authority").mkdir(parents=True)

    def check() -> None:
        again = open_authority(folder)
        again.ensure()
        assert again.ensure() == []
        assert credentials_of(again).name == "server"
        assert credentials_of(again, LOCAL_SITE).name == LOCAL_SITE
        registered = {one.serial for one in again.list()}
        current = [load(folder / part) for part in ("server/server.crt", "sites/local/site.crt")]
        assert {certificates.serial_of(one) for one in current} <= registered, (
            "otherwise it could not be revoked"
        )

    writes = go_through_crashes(folder, lambda: open_authority(folder).ensure(), check, monkeypatch)
    assert writes == 2 + 4 + 1 + 4, (
        "authority; register and three files of the server; list of revocations; the same for the site"
    )


def test_a_reissue_that_crashed_anywhere_is_repaired_by_the_next(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    changing = make_pki(tmp_path / "pki")
    wider = open_authority(changing.folder, server_names=("fl.example.org",))

    def check() -> None:
        wider.ensure()
        assert credentials_of(wider).name == "server"
        assert ask_python(changing.folder / "server", "fl.example.org")

    assert go_through_crashes(changing.folder, wider.ensure, check, monkeypatch) == 4


@pytest.mark.parametrize("heal", ["ensure", "revoke"])
def test_a_revocation_that_crashed_anywhere_is_completed_by_the_next_command(
    heal: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    changing = make_pki(tmp_path / "pki", "north")
    serial = own_serial(changing, "north")

    def check() -> None:
        if heal == "ensure":
            if any(one.is_revoked for one in changing.list()):
                changing.ensure()
                assert read_revoked(changing) == [serial]
            else:
                assert read_revoked(changing) == []
        elif read_revoked(changing) == []:
            assert [one.serial for one in changing.revoke("north")] == [serial]
            assert read_revoked(changing) == [serial]

    assert go_through_crashes(changing.folder, lambda: changing.revoke("north"), check, monkeypatch) == 2
