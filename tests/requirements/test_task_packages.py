"""Packages of a task in .venv: requirements/venv.sh with the real uv and a folder of small wheels."""

import base64
import hashlib
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from tests.machine import run_in

ROOT = Path(__file__).parents[2]
LOCKS = ("run", "export", "dev", "server", "client")


class Project:
    """A folder with the scripts, small locks and a .venv, and a folder of wheels in place of an index."""

    def __init__(self, folder: Path) -> None:
        self.root = folder / "project"
        self.wheels = folder / "wheels"
        self.wheels.mkdir()
        (self.root / "requirements").mkdir(parents=True)
        for name in ("venv.sh", "task.sh"):
            shutil.copy(ROOT / "requirements" / name, self.root / "requirements")
        hashes = {
            (name, version): self.add_wheel(name, version)
            for name, version in (("array", "1.26.4"), ("array", "2.0"), ("tool", "1"), ("linter", "1"))
        }
        locked = {name: [("array", "1.26.4"), ("tool", "1")] for name in LOCKS}
        locked["dev"].append(("linter", "1"))
        locked["server"].pop()
        for name, packages in locked.items():
            lines = [f"{one}=={of} \\\n    --hash=sha256:{hashes[one, of]}\n" for one, of in packages]
            (self.root / "requirements" / f"{name}.txt").write_text("".join(lines))
        subprocess.run([sys.executable, "-m", "venv", "--without-pip", ".venv"], cwd=self.root, check=True)
        (self.root / ".venv" / "bin" / "uv").symlink_to(Path(sys.prefix) / "bin" / "uv")
        (self.root / "uv.toml").write_text(f"no-index = true\nfind-links = ['{self.wheels}']\n")
        # The script takes the first Python that works, which has to be the one of this .venv.
        self.bin = folder / "bin"
        self.bin.mkdir()
        (self.bin / "python3.11").symlink_to(sys._base_executable)  # type: ignore[attr-defined]
        self.task = self.root / "requirements" / "task.txt"

    def add_wheel(self, name: str, version: str, *requirements: str) -> str:
        """Write a package with one module, and return its hash."""
        path = self.wheels / f"{name}-{version}-py3-none-any.whl"
        info = f"{name}-{version}.dist-info"
        wanted = "".join(f"Requires-Dist: {one}\n" for one in requirements)
        files = {
            f"{name}.py": f"version = '{version}'\n",
            f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n{wanted}",
            f"{info}/WHEEL": "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        }
        digests = {
            file: base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest()).rstrip(b"=").decode()
            for file, text in files.items()
        }
        record = "".join(f"{file},sha256={digest},\n" for file, digest in digests.items())
        with zipfile.ZipFile(path, "w") as wheel:
            for file, text in (files | {f"{info}/RECORD": record + f"{info}/RECORD,,\n"}).items():
                wheel.writestr(file, text)
        return hashlib.sha256(path.read_bytes()).hexdigest()

    def set_up(self, lock: str) -> "subprocess.CompletedProcess[str]":
        environment = {
            "PATH": f"{self.bin}{os.pathsep}{os.defpath}",
            "HOME": str(self.root),
            "UV_CACHE_DIR": str(self.root / "cache"),
        }
        return run_in(self.root, ["requirements/venv.sh", lock], environment)

    def set_up_or_fail(self, lock: str) -> str:
        done = self.set_up(lock)
        assert done.returncode == 0, done.stderr
        assert done.stderr == ""
        return done.stdout

    def list_packages(self) -> set[str]:
        found = (self.root / ".venv").glob("lib/*/site-packages/*.dist-info")
        return {path.name.removesuffix(".dist-info") for path in found}


OF_RUN = {"array-1.26.4", "tool-1"}


@pytest.fixture
def project(tmp_path: Path) -> Project:
    made = Project(tmp_path)
    made.add_wheel("vision", "1", "array", "opencv")
    made.add_wheel("opencv", "4", "array")
    return made


def test_packages_of_a_task_are_installed_with_the_locks_versions(project: Project) -> None:
    project.task.write_text("vision\n")
    project.set_up_or_fail("run")
    assert project.list_packages() == OF_RUN | {"vision-1", "opencv-4"}
    assert project.set_up_or_fail("run") == ""


def test_they_stay_when_another_lock_is_installed(project: Project) -> None:
    project.task.write_text("vision\n")
    wanted = OF_RUN | {"vision-1", "opencv-4"}
    project.set_up_or_fail("run")
    assert project.list_packages() == wanted
    for lock in ("dev", "run", "client"):
        project.set_up_or_fail(lock)
        assert project.list_packages() == wanted | {"linter-1"}


def test_the_servers_environment_has_none_of_them(project: Project) -> None:
    project.task.write_text("vision\n")
    project.set_up_or_fail("server")
    assert project.list_packages() == {"array-1.26.4"}
    project.set_up_or_fail("run")
    assert project.list_packages() == OF_RUN | {"vision-1", "opencv-4"}


def test_without_the_file_they_are_removed(project: Project) -> None:
    project.task.write_text("vision\n")
    project.set_up_or_fail("run")
    project.task.unlink()
    project.set_up_or_fail("run")
    assert project.list_packages() == OF_RUN
    assert project.set_up_or_fail("run") == ""


def test_a_change_of_the_file_is_installed_whatever_its_date(project: Project) -> None:
    project.task.write_text("vision\n")
    project.set_up_or_fail("run")
    project.task.write_text("opencv\n")
    os.utime(project.task, (0, 0))
    project.set_up_or_fail("run")
    assert project.list_packages() == OF_RUN | {"opencv-4"}


def test_a_dependency_that_a_comment_excludes_is_left_out(project: Project) -> None:
    project.task.write_text("vision\n# exclude: opencv, another\n")
    project.set_up_or_fail("run")
    assert project.list_packages() == OF_RUN | {"vision-1"}


@pytest.mark.parametrize("text", ["array==2.0\n", "old\n"], ids=["itself", "dependency"])
def test_a_conflict_with_the_lock_is_one_line_and_changes_nothing(project: Project, text: str) -> None:
    project.add_wheel("old", "1", "array>=2")
    project.task.write_text("vision\n")
    project.set_up_or_fail("run")
    before = project.list_packages()
    project.task.write_text(text)
    for _ in range(2):
        failed = project.set_up("run")
        assert failed.returncode == 2
        [line] = failed.stderr.splitlines()
        assert line.startswith("requirements/task.txt: ")
        assert "array==1.26.4 in requirements/run.txt" in line
    assert project.list_packages() == before
    project.task.write_text("vision\n")
    assert project.set_up_or_fail("run") == ""


def test_a_package_that_does_not_exist_is_named_in_one_line(project: Project) -> None:
    project.task.write_text("visoin\n")
    failed = project.set_up("run")
    assert failed.returncode == 2
    [line] = failed.stderr.splitlines()
    assert line.startswith("requirements/task.txt: ")
    assert "visoin" in line


def test_a_line_that_is_no_requirement_is_shown(project: Project) -> None:
    project.task.write_text("array=1\n")
    failed = project.set_up("run")
    assert failed.returncode == 2
    assert "array=1" in failed.stderr
    assert failed.stderr.splitlines()[-1].startswith("requirements/task.txt: ")


@pytest.mark.skipif(shutil.which("make") is None, reason="make is not installed")
def test_make_notices_a_file_that_is_restored_or_removed(project: Project) -> None:
    for name in (
        "Makefile",
        "requirements/names.sh",
        "docker-compose.yml",
        "server/authority/site/docker-compose.yml",
    ):
        (project.root / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, project.root / name)
    project.set_up_or_fail("run")
    recipe = ["make", "--dry-run", ".venv/run.ok"]

    def is_set_up_again() -> bool:
        # Nothing else in this folder is newer than the installation.
        for name in ("requirements/run.txt", "requirements/venv.sh", ".venv/bin/python"):
            os.utime(project.root / name, (0, 0), follow_symlinks=False)
        done = subprocess.run(recipe, cwd=project.root, capture_output=True, text=True, check=True)
        return "venv.sh" in done.stdout

    assert not is_set_up_again()
    project.task.write_text("vision\n")
    os.utime(project.task, (0, 0))
    assert is_set_up_again()
    project.set_up_or_fail("run")
    project.task.unlink()
    assert is_set_up_again()
    project.set_up_or_fail("run")
    assert not is_set_up_again()
