"""`new-task`: what it writes works as written, and a name that is taken changes nothing."""

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from client.commands import TEMPLATES
from client.new_task import make_module
from tests.bounds import HANG_S
from tests.small_mnist import write_small_mnist

ROOT = Path(__file__).parents[2]
MNIST = ROOT / "data" / "mnist"


def run(folder: Path, *arguments: object, **settings: str) -> "subprocess.CompletedProcess[str]":
    """Run Python in a user's folder, where fedmx is found by PYTHONPATH."""
    return subprocess.run(
        [sys.executable, *map(str, arguments)],
        cwd=folder,
        env={"PATH": os.defpath, "PYTHONPATH": str(ROOT), **settings},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=HANG_S,
        check=False,
    )


def new_task(folder: Path, *arguments: str) -> "subprocess.CompletedProcess[str]":
    return run(folder, "-m", "client", "new-task", *arguments)


def find_arguments(printed: str, program: str) -> Sequence[str]:
    """Return the arguments of a command that new-task printed."""
    (line,) = (line for line in printed.splitlines() if f"{sys.executable}{program}" in line)
    return line.partition(sys.executable)[2].split()


@pytest.mark.parametrize(
    ("like", "runner"),
    [
        ("mnist", "-m pytest"),
        pytest.param("tabular", "", marks=pytest.mark.slow),
        pytest.param("images", "", marks=pytest.mark.slow),
    ],
)
def test_the_test_that_is_written_passes_as_a_script_and_by_pytest(
    tmp_path: Path, like: str, runner: str
) -> None:
    done = new_task(tmp_path, "my_task", "--like", like)
    assert done.returncode == 0, done.stderr
    assert sorted(path.name for path in tmp_path.iterdir()) == ["my_task.py", "test_my_task.py"]
    tested = run(tmp_path, *runner.split(), *find_arguments(done.stdout, " test_my_task.py"))
    assert tested.returncode == 0, tested.stdout + tested.stderr
    assert f"client.tasks.{like}" not in (tmp_path / "test_my_task.py").read_text()


@pytest.mark.parametrize("like", TEMPLATES)
def test_the_module_is_the_built_in_task_with_another_docstring(like: str) -> None:
    source = (ROOT / "client" / "tasks" / f"{like}.py").read_text()
    made = make_module("my_task", like)
    assert made.split('"""', 2)[2] == source.split('"""', 2)[2]
    assert source.split('"""', 2)[1].strip() in made
    compile(made, "my_task.py", "exec")


def test_the_written_test_fails_if_the_task_does_not_learn(tmp_path: Path) -> None:
    new_task(tmp_path, "my_task")
    path = tmp_path / "my_task.py"
    path.write_text(path.read_text().replace("images /= 255", "images *= 0"))
    tested = run(tmp_path, "test_my_task.py")
    assert tested.returncode == 1
    assert "FAIL: test_examples_and_labels" in tested.stderr


@pytest.mark.slow
def test_the_commands_that_are_printed_check_the_task_and_run_it(tmp_path: Path) -> None:
    done = new_task(tmp_path, "my_task")
    checked = run(tmp_path, *find_arguments(done.stdout, " -m client check-task "))
    assert checked.returncode == 0, checked.stderr
    assert "my_task: a round of two nodes works" in checked.stdout
    *_, command = done.stdout.splitlines()
    assert command.split() == [
        f"PYTHONPATH={tmp_path}",
        "make",
        "-C",
        str(ROOT),
        "run",
        "TASK=my_task",
        "DATA_DIR=data/mnist",
    ]
    write_small_mnist(tmp_path / "mnist")
    settings = {"TASK": "my_task", "DATA_DIR": str(tmp_path / "mnist"), "RUNS_DIR": str(tmp_path / "runs")}
    trained = run(
        ROOT,
        "-m",
        "local",
        **settings,
        PYTHONPATH=str(tmp_path),
        LISTEN_ADDRESS="127.0.0.1:0",
        PKI_DIR=str(tmp_path / "pki"),
        ROUNDS="1",
        LOCAL_EPOCHS="1",
    )
    assert trained.returncode == 0, trained.stdout + trained.stderr
    assert (tmp_path / "runs" / "latest" / "model.npz").exists()


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("json", "standard library"),
        ("client", str(ROOT / "client")),
        ("numpy", "site-packages/numpy"),
        ("data", str(ROOT / "data")),
        ("pkg.my_task", "folder"),
        ("pkg/my_task", "folder"),
        ("1st", "not the name of a module"),
        ("class", "not the name of a module"),
        ("my-task", "not the name of a module"),
        ("__main__", "__main__"),
    ],
)
def test_a_name_that_is_no_new_module_is_one_line_and_nothing_is_written(
    tmp_path: Path, name: str, found: str
) -> None:
    done = new_task(tmp_path, name)
    assert (done.returncode, done.stdout) == (2, "")
    (line,) = done.stderr.splitlines()
    assert line.startswith(f"NAME={name}: ")
    assert found in line
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("existing", ["my_task.py", "test_my_task.py"])
def test_no_file_is_replaced(tmp_path: Path, existing: str) -> None:
    (tmp_path / existing).write_text("mine")
    done = new_task(tmp_path, "my_task")
    assert (done.returncode, done.stdout) == (2, "")
    (line,) = done.stderr.splitlines()
    assert line.startswith(f"{existing}: ")
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == {existing: "mine"}


def test_an_unknown_template_is_one_line_with_those_there_are(tmp_path: Path) -> None:
    done = new_task(tmp_path, "my_task", "--like", "video")
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert all(like in line for like in TEMPLATES)
