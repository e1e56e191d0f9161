"""No private key is committed by `git add .` or copied into an image, wherever in a checkout it is."""

import shutil
import subprocess
import tarfile
from pathlib import Path

import pytest

from fedmx.pki import csr
from server.__main__ import main
from tests.compose.conftest import find_fault

ROOT = Path(__file__).parents[1]
MARK = b"PRIVATE KEY"
# Folders of a checkout in which someone may write bundles, requests and an authority.
FOLDERS = [
    "",
    "hospital-a",
    "any name",
    "client/north",
    "server/authority/site/north",
    "data/mnist",
    "fedmx/pki",
]


@pytest.fixture
def checkout(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfdbinary: pytest.CaptureFixture[bytes]
) -> Path:
    """A folder with the project's ignore files and, in every folder, the commands' files with keys."""
    root = tmp_path / "checkout"
    for index, name in enumerate(FOLDERS):
        folder = root / name
        folder.mkdir(parents=True, exist_ok=True)
        monkeypatch.setenv("PKI_DIR", str(folder / ".fedmx" / "pki"))
        main(["pki", "ensure"])
        capfdbinary.readouterr()
        main(["pki", "bundle", "hospital-a", "fl.example.org:8080"])
        archive = folder / "hospital-a.tar.gz"
        archive.write_bytes(capfdbinary.readouterr().out)
        shutil.copy(archive, folder / ".bundle.x1Y2z3")
        with tarfile.open(archive) as packed:
            packed.extractall(folder, filter="data")
        (folder / "hospital-a").rename(folder / f"unpacked {index}")
        key = csr.create("south", folder).with_name("site.key")
        for copy in (".site.key.part", "site.key.bak", "site.key~", "other.key"):
            shutil.copy(key, folder / copy)
    for name in (".gitignore", ".dockerignore"):
        shutil.copy(ROOT / name, root)
    return root


def git(folder: Path, *arguments: str) -> list[str]:
    """Return the output of a git command, split at null characters."""
    command = ["git", "-C", str(folder), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.split("\0")[:-1]


def find_keys(paths: list[Path]) -> list[Path]:
    """Return the files that contain a key or may contain one: requests and archives."""
    named = (".csr", ".gz", ".x1Y2z3")
    return [path for path in paths if path.suffix in named or MARK in path.read_bytes()]


def test_git_adds_no_key(checkout: Path) -> None:
    assert len(find_keys([path for path in checkout.rglob("*") if path.is_file()])) >= 10 * len(FOLDERS)
    git(checkout, "init", "--quiet")
    git(checkout, "add", ".")
    added = [checkout / name for name in git(checkout, "ls-files", "-z")]
    assert find_keys(added) == []
    assert len([path for path in added if path.name == "docker-compose.yml"]) == len(FOLDERS)


def test_the_key_of_a_bundle_in_a_sites_repository_is_ignored(checkout: Path, tmp_path: Path) -> None:
    repository = tmp_path / "repository"
    shutil.copytree(checkout / "unpacked 0", repository / "bundle")
    git(repository, "init", "--quiet")
    git(repository, "add", ".")
    added = [repository / name for name in git(repository, "ls-files", "-z")]
    assert (repository / "bundle" / "certs" / "site.key").exists()
    assert find_keys(added) == []
    assert repository / "bundle" / "certs" / "site.crt" in added


def test_no_file_of_the_project_is_ignored() -> None:
    if not (ROOT / ".git").exists():
        pytest.skip("not a git clone")
    command = ["git", "ls-files", "--cached", "--ignored", "--exclude-standard"]
    listed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert listed == ""


@pytest.mark.compose
def test_no_key_is_copied_into_an_image(checkout: Path, tmp_path: Path) -> None:
    if fault := find_fault():
        pytest.skip(fault)
    built = tmp_path / "built"
    options = ["--output", f"type=local,dest={built}", "--file", "-"]
    command = ["docker", "buildx", "build", *options, str(checkout)]
    subprocess.run(command, input=b"FROM scratch\nCOPY . /\n", capture_output=True, check=True)
    copied = [path for path in built.rglob("*") if path.is_file()]
    assert find_keys(copied) == []
    assert built / "client" / "north" in {parent for path in copied for parent in path.parents}
