"""Programs for tests, which run a body of Python by `run_program`, as real processes."""

import subprocess
import sys
import textwrap
from pathlib import Path

from fedmx.settings import environment
from tests.bounds import HANG_S

ROOT = Path(__file__).parents[2]

PROGRAM = """
import logging, signal, sys, threading, time
from fedmx import errors, log
from fedmx.program import run_program

# Whatever the tests were started with.
signal.signal(signal.SIGHUP, {hangup})

def show(text):
    print(text, flush=True)

def main():
{body}

run_program(main)
"""


def start(body: str, *arguments: str, hangup: str = "signal.SIG_DFL") -> "subprocess.Popen[str]":
    program = PROGRAM.format(body=textwrap.indent(textwrap.dedent(body).strip(), "    "), hangup=hangup)
    return subprocess.Popen(
        [sys.executable, "-c", program, *arguments],
        cwd=ROOT,
        env={name: value for name, value in environment().items() if name != "PYTHONUNBUFFERED"},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def run(body: str, *arguments: str) -> tuple[int, str, str]:
    process = start(body, *arguments)
    out, err = process.communicate(timeout=HANG_S)
    return process.returncode, out, err


def signalled(body: str, *numbers: int) -> tuple[int, str, str]:
    """Run a program that prints `ready`, and then send it signals."""
    process = start(body)
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    for number in numbers:
        process.send_signal(number)
    out, err = process.communicate(timeout=HANG_S)
    return process.returncode, out, err
