"""The site of the documentation, built from this tree."""

import subprocess
from pathlib import Path

import pytest

from requirements.site import SITE
from tests.bounds import HANG_S
from tests.tools import ROOT, find_tool_python


def build(root: Path) -> "subprocess.CompletedProcess[str]":
    """Build the site of a tree as `make docs` does."""
    return subprocess.run(
        [find_tool_python("docs"), "-m", "requirements.site"],
        cwd=root,
        env={"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=HANG_S,
        check=False,
    )


@pytest.fixture(scope="session")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the site."""
    folder = tmp_path_factory.mktemp("tree")
    for path in ROOT.iterdir():
        if path.name != "build":
            (folder / path.name).symlink_to(path)
    done = build(folder)
    assert done.returncode == 0, done.stdout + done.stderr
    assert (folder / SITE / "index.html").as_uri() in done.stdout
    return folder / SITE
