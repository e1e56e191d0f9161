"""The import of a task: its name, its file, what it imports, and whether its functions need options."""

from pathlib import Path

import pytest

from client.task import load_task, may_need_options
from tests.client.given.sources import GOOD, TASK, Load, error_of


@pytest.mark.parametrize(
    ("name", "module"),
    [("my_task.py", "my_task"), ("./my_task", "my_task"), ("tasks/my_task.py", "tasks.my_task")],
)
def test_a_path_is_refused_with_the_name_of_its_module(name: str, module: str) -> None:
    message = error_of(lambda: load_task(name))
    assert message.startswith(f"TASK={name}: ")
    assert message.endswith(f" {module}")


@pytest.mark.parametrize(
    ("source", "needs_them"),
    [
        ("", False),
        ("def train(net, data, context): return context.options\n", False),
        ("def loss(): return gluon.loss.L1Loss()\n", False),
        ("def loss(options): return gluon.loss.L1Loss()\n", True),
        ("def build_model(options): return gluon.nn.Dense(options['width'])\n", True),
        ("def load_data(data_dir, options): return None\n", True),
        ("def trainer(net, context): return context.options\n", True),
    ],
)
def test_a_task_needs_options_if_a_function_that_is_called_at_the_start_has_them(
    load: Load, source: str, needs_them: bool
) -> None:
    load(GOOD + source)
    assert may_need_options("their_task") is needs_them


def test_a_missing_module_is_named() -> None:
    assert error_of(lambda: load_task("no_such.task")) == (
        f"TASK=no_such.task: cannot be imported: No module named 'no_such'; {TASK}"
    )


@pytest.mark.parametrize("name", ["", ".task", "..", "client/tasks/mnist.py"])
def test_a_name_that_is_not_a_modules_is_refused(name: str) -> None:
    message = error_of(lambda: load_task(name))
    assert message.startswith(f"TASK={name}: cannot be imported: ")


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        ("def build_model(:", "invalid syntax (their_task.py, line 1)"),
        ("import their_task.parts", "No module named 'their_task.parts'"),
        ("from client.data import no_such_name", "cannot import name 'no_such_name' from 'client.data' ("),
        ("raise KeyError('spam')", "KeyError: 'spam'"),
        ("raise RuntimeError('first\\nsecond')", "RuntimeError: first"),
        ("\n\nassert False", "AssertionError: no reason given (their_task.py:3)"),
        ("open('/no/such')", "FileNotFoundError: [Errno 2] No such file or directory: '/no/such'"),
    ],
)
def test_a_module_that_fails_on_import_is_named_with_the_reason(load: Load, source: str, reason: str) -> None:
    message = error_of(lambda: load(source))
    assert message.startswith(f"TASK=their_task: cannot be imported: {reason}")
    assert message.endswith(f"; {TASK}")


def test_a_package_that_is_not_installed_is_named_with_the_file_that_lists_packages(load: Load) -> None:
    message = error_of(lambda: load("import no_such_package"))
    assert message.startswith("TASK=their_task: cannot be imported: No module named 'no_such_package'; ")
    assert "requirements/task.txt" in message


def test_a_file_that_a_task_cannot_read_is_named(load: Load) -> None:
    task = load(f"{GOOD}\ndef load_data(data_dir): return np.load(data_dir / 'x.npy')")
    assert error_of(lambda: task.load_data(Path("/no/such"))) == (
        "DATA_DIR=/no/such: cannot be read: [Errno 2] No such file or directory: '/no/such/x.npy'"
    )
