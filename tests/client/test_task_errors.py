"""Signals and tasks: whatever a task does to the signal handlers, the client ends as it promises."""

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from fedmx.settings import environment
from tests.bounds import HANG_S

ROOT = Path(__file__).parents[2]
PROGRAM = """
import time
from client.task import load_task
from fedmx.program import run_program

def main():
    task = load_task("signals_task")
    task.build_model()
    print("ready", flush=True)
    time.sleep(3600)

run_program(main)
"""
TASK = """
import signal, time
from mxnet import gluon

def change():
    for name in ("SIGINT", "SIGTERM", "SIGHUP"):
        signal.signal(getattr(signal, name), {handler})
    {then}

def build_model():
    {in_build}
    return gluon.nn.Dense(1)

def load_data(data_dir): ...

{in_import}
"""
IGNORE = "lambda *_: None"
WAIT = "print('ready', flush=True); time.sleep(3600)"


def end_by(number: int, folder: Path, task: str) -> tuple[int, str]:
    """Start a program with a task, send it a signal when it is ready, and return exit code and output."""
    (folder / "signals_task.py").write_text(task)
    process = subprocess.Popen(
        [sys.executable, "-c", PROGRAM],
        cwd=ROOT,
        env={**environment(), "PYTHONPATH": f"{ROOT}:{folder}"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    process.send_signal(number)
    output, _ = process.communicate(timeout=HANG_S)
    return process.returncode, output


@pytest.mark.parametrize(
    ("place", "number", "code"),
    [("in_import", signal.SIGTERM, 143), ("in_build", signal.SIGINT, 130)],
)
def test_signal_handlers_of_a_task_are_replaced_by_the_clients(
    tmp_path: Path, place: str, number: int, code: int
) -> None:
    places = {"in_import": "", "in_build": "pass"} | {place: "change()"}
    task = TASK.format(handler=IGNORE, then="", **places)
    assert end_by(number, tmp_path, task) == (code, "")


def test_ctrl_c_while_a_task_runs_with_pythons_own_handler_is_exit_code_130(tmp_path: Path) -> None:
    task = TASK.format(handler="signal.default_int_handler", then=WAIT, in_import="change()", in_build="pass")
    assert end_by(signal.SIGINT, tmp_path, task) == (130, "")
