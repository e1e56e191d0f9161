"""Files that are written completely or not at all."""

from pathlib import Path

import pytest

from fedmx.errors import DataError
from fedmx.files import atomic_write


@pytest.mark.parametrize("path", [Path(), Path("/"), Path("..")], ids=str)
def test_a_folder_that_cannot_be_a_file_is_a_one_line_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, path: Path
) -> None:
    (tmp_path / "folder").mkdir()
    monkeypatch.chdir(tmp_path / "folder")
    with pytest.raises(DataError, match=rf"^{path}: ") as caught, atomic_write(path):
        pass
    assert "expected" in str(caught.value)
    assert not list(Path().iterdir())
