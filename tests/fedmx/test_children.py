"""Processes that a program forks or starts: which signals end them, and that none outlives the program."""

import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from fedmx.settings import environment
from tests.bounds import HANG_S

ROOT = Path(__file__).parents[2]
SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)

PROGRAM = """
import multiprocessing, os, signal, subprocess, sys, threading, time
from concurrent.futures import ProcessPoolExecutor
from fedmx import errors, log
from fedmx.program import run_program

# Whatever the tests were started with.
signal.signal(signal.SIGHUP, signal.SIG_DFL)

def show(text):
    print(text, flush=True)

def square(number):
    return number * number

def start(method="fork", target=time.sleep, args=(600,)):
    process = multiprocessing.get_context(method).Process(target=target, args=args)
    process.start()
    return process

def main():
{body}

if __name__ == "__main__":
    run_program(main)
"""


def start(body: str, folder: Path) -> "subprocess.Popen[str]":
    # A file, because a spawned process imports it again.
    program = folder / "program.py"
    program.write_text(PROGRAM.format(body=textwrap.indent(textwrap.dedent(body).strip(), "    ")))
    return subprocess.Popen(
        [sys.executable, str(program)],
        env={**environment(), "PYTHONPATH": str(ROOT)},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def run(body: str, folder: Path) -> tuple[int, str, str]:
    """Run a program until it and whatever it started have closed their output."""
    process = start(body, folder)
    out, err = process.communicate(timeout=HANG_S)
    return process.returncode, out, err


WORKERS = {
    "pool": """
        with multiprocessing.Pool(4) as pool:
            show(pool.map(square, range(4)))
    """,
    "spawned": """
        with multiprocessing.get_context("spawn").Pool(2) as pool:
            show(pool.map(square, range(4)))
    """,
    "executor": """
        with ProcessPoolExecutor(2) as executor:
            show(list(executor.map(square, range(4))))
    """,
    "thread": """
        def work():
            with multiprocessing.Pool(2) as pool:
                show(pool.map(square, range(4)))
        thread = threading.Thread(target=work)
        thread.start()
        thread.join()
    """,
}


@pytest.mark.parametrize("name", WORKERS)
def test_a_pool_of_workers_ends_without_ending_its_program(name: str, tmp_path: Path) -> None:
    assert run(WORKERS[name], tmp_path) == (0, "[0, 1, 4, 9]\n", "")


@pytest.mark.parametrize("number", SIGNALS)
def test_a_signal_to_a_worker_ends_the_worker_alone_and_at_once(number: int, tmp_path: Path) -> None:
    body = f"""
        for _ in range(50):
            worker = start()
            os.kill(worker.pid, {number})  # mostly before the worker has begun
            worker.join()
            show(worker.exitcode)
    """
    assert run(body, tmp_path) == (0, f"-{number}\n" * 50, "")


def test_a_forked_process_has_no_handler_and_no_wakeup_descriptor_of_its_program(tmp_path: Path) -> None:
    body = f"""
        def look():
            show([signal.getsignal(number) == signal.SIG_DFL for number in {[*map(int, SIGNALS)]}])
            show(signal.set_wakeup_fd(-1))
            show(signal.pthread_sigmask(signal.SIG_BLOCK, []))
        start(target=look, args=()).join()
    """
    assert run(body, tmp_path) == (0, "[True, True, True]\n-1\nset()\n", "")


def test_a_worker_keeps_a_handler_that_was_set_for_it(tmp_path: Path) -> None:
    body = """
        before = signal.signal(signal.SIGINT, signal.SIG_IGN)  # as DataLoader does
        worker = start(target=lambda: show(signal.getsignal(signal.SIGINT) == signal.SIG_IGN), args=())
        signal.signal(signal.SIGINT, before)
        worker.join()
    """
    assert run(body, tmp_path) == (0, "True\n", "")


def test_what_is_started_while_a_program_ends_can_be_stopped_too(tmp_path: Path) -> None:
    body = """
        try:
            signal.raise_signal(signal.SIGTERM)
        finally:
            worker = start()
            worker.terminate()
            worker.join()
            show(worker.exitcode)
            subprocess.run(["grep", "SigIgn", "/proc/self/status"], check=True)
    """
    code, out, _ = run(body, tmp_path)
    exit_code, ignored = out.split("\n", 1)
    assert (code, exit_code) == (143, "-15")
    # Other signals may be ignored by whoever started the tests.
    stopping = sum(1 << (number - 1) for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP))
    assert int(ignored.split()[1], 16) & stopping == 0


ENDS = {
    "return": (0, ""),
    "error": (4, "raise errors.TrainingFailedError('lost')"),
    "bug": (1, "{}['nothing']"),
    "stopped": (143, "signal.raise_signal(signal.SIGTERM)"),
    "killed": (-9, "os.kill(os.getpid(), signal.SIGKILL)"),
    "left": (3, "os._exit(3)"),
}


@pytest.mark.parametrize("how", ENDS)
def test_no_forked_worker_outlives_its_program(how: str, tmp_path: Path) -> None:
    code, end = ENDS[how]
    # A worker of a worker too, and one that refuses to end.
    body = f"""
        def work():
            start()
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
            is_ready.set()
            time.sleep(600)
        is_ready = multiprocessing.Event()
        pool = multiprocessing.Pool(2)
        start(target=work, args=())
        is_ready.wait()
        {end}
    """
    assert run(body, tmp_path)[0] == code


@pytest.mark.parametrize("how", [how for how in ENDS if ENDS[how][0] not in (-9, 3)])
def test_no_other_worker_outlives_a_program_that_ends_by_itself(how: str, tmp_path: Path) -> None:
    code, end = ENDS[how]
    body = f"""
        start("spawn")
        thread = threading.Thread(target=start)
        thread.start()
        thread.join()
        subprocess.Popen(["sleep", "600"])
        {end}
    """
    assert run(body, tmp_path)[0] == code


def test_idle_workers_that_were_spawned_end_with_a_program_that_is_killed(tmp_path: Path) -> None:
    body = """
        pool = multiprocessing.get_context("spawn").Pool(2)
        show(pool.map(square, range(2)))
        os.kill(os.getpid(), signal.SIGKILL)
    """
    assert run(body, tmp_path)[:2] == (-9, "[0, 1]\n")


def test_a_worker_lives_on_when_the_thread_that_forked_it_ends(tmp_path: Path) -> None:
    body = """
        def fork():
            workers.append(start(target=lambda: show(inner.recv()), args=()))
        outer, inner = multiprocessing.Pipe()
        workers = []
        thread = threading.Thread(target=fork)
        thread.start()
        number = thread.native_id
        thread.join()
        while os.path.exists(f"/proc/self/task/{number}"):
            time.sleep(0.01)
        outer.send("alive")
        workers[0].join()
        show(workers[0].exitcode)
    """
    assert run(body, tmp_path) == (0, "alive\n0\n", "")
