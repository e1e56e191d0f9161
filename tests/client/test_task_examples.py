"""The task examples in the documentation run, and each is a valid task."""

import subprocess
import sys
from pathlib import Path

import pytest

from client.mx import mx
from client.task import load_task
from tests.pages import ROOT, find_code

EXAMPLES = ("# my_task.py, in this folder",)
RUN_ALL = "import runpy, sys\nfor path in sys.argv[1:]: runpy.run_path(path, run_name='__main__')"


def test_the_examples_of_the_documents_run_on_their_own(tmp_path: Path) -> None:
    paths = [tmp_path / f"example_{number}.py" for number in range(len(EXAMPLES))]
    for path, part in zip(paths, EXAMPLES, strict=True):
        path.write_text(find_code(part))
    command = [sys.executable, "-c", RUN_ALL, *map(str, paths)]
    done = subprocess.run(command, env={"PYTHONPATH": str(ROOT)}, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


@pytest.mark.parametrize("part", EXAMPLES)
def test_an_example_of_the_documents_is_a_task(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, part: str
) -> None:
    (tmp_path / "my_task.py").write_text(find_code(part))
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "my_task", raising=False)
    task = load_task("my_task")
    net = task.build_model()
    net.initialize()
    outputs = net(mx.nd.ones((3, 4)))
    labels = mx.nd.array([0, 1, 0])
    assert outputs.shape == (3, 2)
    assert task.loss(outputs, labels).shape == (3,)
    assert list(task.metrics(outputs, labels)) == ["accuracy"]
