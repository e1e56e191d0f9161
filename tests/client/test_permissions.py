"""A task or data without read permission is an error that names path and user."""

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.strangers import UID, run_as_stranger

IMPORTS = """
from pathlib import Path
from client.task import load_task
from fedmx.errors import FederationError
"""
LOAD = """
sys.path[:] = sys.argv[1:2]
for name in sys.argv[2:]:
    try:
        load_task(name).load_data(Path(sys.argv[1]))
    except FederationError as error:
        print(error.exit_code, error)
"""
READS = """
def build_model(): ...
def load_data(folder): return (folder / "unreadable.py").read_text()
"""


@pytest.fixture
def folder() -> Iterator[Path]:
    """Create a folder that every user may read, unlike pytest's own."""
    made = Path(tempfile.mkdtemp(prefix="fedmx-tasks-"))
    made.chmod(0o755)
    yield made
    for path in made.rglob("*"):
        path.chmod(0o755)
    shutil.rmtree(made)


def test_the_unreadable_part_of_a_task_is_named_with_the_user(folder: Path) -> None:
    for name in ("hospital", "clinic"):
        (folder / name).mkdir()
        (folder / name / "task.py").write_text("")
    (folder / "unreadable.py").write_text("")
    (folder / "imports.py").write_text("import hospital.task")
    (folder / "reads.py").write_text(READS)
    for path in ("hospital", "clinic/task.py", "unreadable.py"):
        (folder / path).chmod(0)
    tasks = ("hospital.task", "clinic.task", "unreadable", "imports", "reads", "nowhere")
    lines = run_as_stranger(IMPORTS, LOAD, folder, *tasks).splitlines()
    unreadable = ("hospital", "clinic/task.py", "unreadable.py", "hospital", "unreadable.py")
    assert len(lines) == len(tasks)
    for line, path in zip(lines, unreadable, strict=False):
        assert line.startswith("2 ")
        assert str(folder / path) in line
        assert f"(uid {UID})" in line
    assert lines[-1].startswith(
        "2 TASK=nowhere: cannot be imported: No module named 'nowhere'; expected a module"
    )


def test_a_folder_of_tasks_without_permission_is_named_with_the_user(folder: Path) -> None:
    inner = folder / "inner"
    inner.mkdir(mode=0)
    (line,) = run_as_stranger(IMPORTS, LOAD, inner, "hospital.task").splitlines()
    assert f"{inner} cannot be read" in line
    assert f"(uid {UID})" in line
