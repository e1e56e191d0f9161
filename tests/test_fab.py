"""The bundle that `flwr run` sends to every node: both apps, and nothing that belongs to a user."""

import hashlib
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from fedmx.settings import environment
from server.status.page import build_page
from tests.bounds import HANG_S

ROOT = Path(__file__).parents[1]
FLWR = Path(sys.executable).with_name("flwr")
PACKAGES = ("client", "fedmx", "server")
# Flower's limit. A SuperLink sends the bundle to every node, and a node to the process of every message.
LIMIT = 10 * 1024**2
OTHERS = {"pyproject.toml", "LICENSE", "README.md", ".info/CONTENT", "server/status/page/bundle.json"}
# What a user may have in a checkout, each with a text that must not leave the machine.
PRIVATE = (
    ".env",
    "client/.env",
    "server/site.key",
    "fedmx/key.pem",
    "server/authority/token.json",
    "client/data/rows.jsonl",
    "client/tasks/rows.csv",
    "server/notes.md",
    "server/status/page/other.json",
    "fedmx/settings.yaml",
    "secret.py",
    "notes.jsonl",
    "data/patients.json",
    "data/mnist/labels.py",
    "runs/one/run.json",
    "runs/one/history.jsonl",
    "docs/draft.md",
    "logs/server.json",
    ".fedmx/pki/authority.py",
    ".venv-tools/lib/tool.py",
    "client/__pycache__/app.py",
    "tests/test_mine.py",
    "server/test_mine.py",
)
CONTENT = "d41d8cd98f00b204"


def list_tracked() -> list[str]:
    """Return the files of the checkout, or of the copy of one that is tested."""
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=False)
    if listed.returncode == 0:
        return listed.stdout.splitlines()
    found = (path.relative_to(ROOT) for package in PACKAGES for path in (ROOT / package).rglob("*"))
    return [str(path) for path in found if "__pycache__" not in path.parts]


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> zipfile.ZipFile:
    """What `flwr build` makes of a checkout that has been used."""
    tree = tmp_path_factory.mktemp("fab") / "fedmx"
    for name in {*list_tracked(), ".gitignore", "pyproject.toml", "LICENSE", "README.md"}:
        is_needed = name.split("/")[0] in (*PACKAGES, "docs", "tests") or "/" not in name
        if is_needed and (ROOT / name).is_file():
            (tree / name).parent.mkdir(parents=True, exist_ok=True)
            (tree / name).write_bytes((ROOT / name).read_bytes())
    for name in PRIVATE:
        (tree / name).parent.mkdir(parents=True, exist_ok=True)
        (tree / name).write_text(CONTENT)
    environ = environment() | {"FLWR_TELEMETRY_ENABLED": "0", "FLWR_DISABLE_UPDATE_CHECK": "1"}
    subprocess.run([FLWR, "build"], cwd=tree, env=environ, timeout=HANG_S, check=True, capture_output=True)
    (path,) = tree.glob("*.fab")
    assert path.stat().st_size < LIMIT / 2
    return zipfile.ZipFile(path)


def test_a_bundle_has_the_sources_of_both_apps_and_no_other_file(bundle: zipfile.ZipFile) -> None:
    sources = {
        name
        for name in list_tracked()
        if name.startswith(tuple(f"{package}/" for package in PACKAGES)) and name.endswith(".py")
    }
    expected = {name for name in sources if not name.startswith("client/tasks/tests/")}
    assert set(bundle.namelist()) == expected | OTHERS
    assert len(expected) > 200


def test_a_bundle_has_nothing_of_what_a_user_has_beside_the_sources(bundle: zipfile.ZipFile) -> None:
    texts = {name: bundle.read(name) for name in bundle.namelist()}
    assert [name for name, text in texts.items() if CONTENT.encode() in text] == []
    digests = {
        line.split(",")[0]: line.split(",")[1] for line in texts[".info/CONTENT"].decode().splitlines()
    }
    assert digests["server/app.py"] == hashlib.sha256((ROOT / "server/app.py").read_bytes()).hexdigest()


def test_the_status_page_of_a_bundle_is_that_of_the_checkout(bundle: zipfile.ZipFile, tmp_path: Path) -> None:
    bundle.extractall(tmp_path)
    assert not (tmp_path / "server/status/page/index.html").exists()
    script = "from server.status.page import build_page; print(build_page(), end='')"
    arguments = [sys.executable, "-c", script]
    done = subprocess.run(arguments, cwd=tmp_path, capture_output=True, text=True, check=True, timeout=HANG_S)
    assert done.stdout == build_page()
