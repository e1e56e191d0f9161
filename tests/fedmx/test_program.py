"""How a program ends: real processes, their exit codes, and what they say."""

import re
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from fedmx import signals
from fedmx.settings import environment
from tests.bounds import HANG_S

ROOT = Path(__file__).parents[2]

PROGRAM = """
import logging, signal, sys, threading, time
from fedmx import errors, log
from fedmx.program import run_program

signal.signal(signal.SIGHUP, {hangup})  # whatever the tests were started with

def say(text):
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
    """Run a program that says `ready`, and send it signals then."""
    process = start(body)
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    for number in numbers:
        process.send_signal(number)
    out, err = process.communicate(timeout=HANG_S)
    return process.returncode, out, err


def test_a_program_that_is_done_exits_with_0_and_its_output_is_whole() -> None:
    assert run("print('done', end='')") == (0, "done", "")


@pytest.mark.parametrize(
    ("error", "code"),
    [
        ("SettingsError", 2),
        ("DataError", 2),
        ("TooFewNodesError", 3),
        ("TrainingFailedError", 4),
        ("UnreachableError", 5),
        ("RefusedError", 5),
        ("ProtocolError", 5),
    ],
)
def test_each_error_is_one_line_and_its_exit_code(error: str, code: int) -> None:
    assert run(f"raise errors.{error}('what, and what to do')") == (code, "", "what, and what to do\n")


def test_all_wrong_settings_are_said_one_a_line() -> None:
    assert run("raise errors.SettingsError(['A=1: wrong', 'B=2: wrong'])") == (
        2,
        "",
        "A=1: wrong\nB=2: wrong\n",
    )


def test_once_the_log_is_open_an_error_is_a_line_of_it() -> None:
    code, _, err = run("log.configure('INFO', 'text'); raise errors.UnreachableError('nobody there')")
    assert code == 5
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}[+-]\d\d:\d\d ERROR   nobody there\n", err)


@pytest.mark.parametrize("opening", ["", "log.configure('INFO', 'text');"])
def test_a_bug_exits_with_1_and_keeps_its_traceback(opening: str) -> None:
    code, _, err = run(f"{opening} {{}}['nothing']")
    assert code == 1
    assert "a bug in fedmx" in err
    assert "Traceback (most recent call last)" in err
    assert err.endswith("KeyError: 'nothing'\n")


@pytest.mark.parametrize(
    "leave",
    [
        "sys.exit()",
        "sys.exit(0)",
        "sys.exit(3)",
        "raise KeyboardInterrupt",
        "raise GeneratorExit",
        "raise BaseException('odd')",
    ],
)
def test_only_a_program_that_is_done_exits_with_0(leave: str) -> None:
    code, _, err = run(leave)
    assert code == 1
    assert "Traceback (most recent call last)" in err


@pytest.mark.parametrize("argument", ["--help", "--version"])
def test_a_program_that_is_asked_for_its_help_is_done(argument: str) -> None:
    body = """
        from fedmx.program import ArgumentParser
        parser = ArgumentParser(prog="small")
        parser.add_argument("--version", action="version", version="small 1")
        parser.parse_args()
        say("not reached")
    """
    code, out, err = run(body, argument)
    assert (code, err) == (0, "")
    assert "small" in out
    assert "not reached" not in out


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130), (signal.SIGHUP, 129)]
)
def test_a_signal_stops_the_program_with_its_code_and_no_traceback(number: int, code: int) -> None:
    body = """
        log.configure("INFO", "text")
        try:
            say("ready")
            threading.Event().wait(60)
        finally:
            say("cleaned")
    """
    status, out, err = signalled(body, number)
    assert (status, out) == (code, "cleaned\n")
    assert err.endswith(f"INFO    stopped by a signal exit_code={code}\n")
    assert "Traceback" not in err


def test_a_closed_terminal_does_not_stop_what_nohup_started() -> None:
    process = start("say('ready'); sys.stdin.read(); say('done')", hangup="signal.SIG_IGN")
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    process.send_signal(signal.SIGHUP)
    assert process.communicate("", timeout=HANG_S) == ("done\n", "")
    assert process.returncode == 0


def test_no_handler_of_failures_swallows_a_signal() -> None:
    body = """
        try:
            say("ready")
            time.sleep(60)
        except Exception:
            say("swallowed")
    """
    assert signalled(body, signal.SIGTERM)[:2] == (143, "")


def test_a_second_signal_does_not_interrupt_the_clean_end() -> None:
    body = """
        try:
            say("ready")
            time.sleep(60)
        finally:
            signal.raise_signal(signal.SIGTERM)
            signal.raise_signal(signal.SIGINT)
            say("cleaned")
    """
    assert signalled(body, signal.SIGINT)[:2] == (130, "cleaned\n")


def test_a_signal_while_an_error_is_on_its_way_gives_the_signals_code() -> None:
    body = """
        try:
            raise errors.TrainingFailedError("lost")
        finally:
            say("ready")
            time.sleep(60)
    """
    status, _, err = signalled(body, signal.SIGTERM)
    assert (status, "Traceback" in err) == (143, False)


def test_a_signal_in_a_destructor_is_not_lost() -> None:
    body = """
        class Array:
            def __del__(self):
                signal.raise_signal(signal.SIGTERM)
                say("not reached")
        log.configure("INFO", "text")
        try:
            Array()
            time.sleep(600)
        finally:
            say("cleaned")
    """
    status, out, err = run(body)
    assert (status, out) == (143, "cleaned\n"), "the fallback cleans nothing"
    assert "Exception ignored" not in err


def test_threads_that_still_run_hold_no_program_back() -> None:
    assert run("threading.Thread(target=time.sleep, args=(60,)).start()")[0] == 0


def test_the_exit_code_stays_when_nobody_reads_the_output() -> None:
    process = start("sys.stdin.read(); print('unread'); raise errors.TooFewNodesError('one came')")
    assert process.stdout is not None
    process.stdout.close()
    _, err = process.communicate("", timeout=HANG_S)
    assert (process.returncode, err) == (3, "one came\n")


def test_a_signal_after_the_end_changes_nothing() -> None:
    body = """
        class Late(logging.NullHandler):
            def flush(self):
                signal.raise_signal(signal.SIGTERM)
        log.logger.addHandler(Late())
        raise errors.TooFewNodesError("one came")
    """
    assert run(body) == (3, "", "")


def test_a_signal_ends_a_program_whose_main_thread_is_inside_a_library() -> None:
    body = """
        import ctypes
        log.configure("INFO", "text")
        library = ctypes.CDLL(None)
        library.pthread_mutex_lock(mutex := ctypes.create_string_buffer(64))
        say("ready")
        library.pthread_mutex_lock(mutex)  # goes on through signals, as a call into MXNet's engine does
    """
    status, _, err = signalled(body, signal.SIGTERM)
    assert status == 143
    assert "stopped by a signal" in err
    assert signals._END_AFTER_S < 5, "the documented limit"


def test_a_signal_that_came_to_another_thread_wakes_the_main_thread() -> None:
    body = """
        def take_it():
            time.sleep(0.2)
            signal.pthread_kill(threading.get_ident(), signal.SIGINT)
        threading.Thread(target=take_it, daemon=True).start()
        say("ready")
        lock = threading.Lock()
        lock.acquire()
        try:
            lock.acquire()
        finally:
            say("cleaned")
    """
    status, out, err = run(body)
    assert (status, out, err) == (130, "ready\ncleaned\n", ""), "the fallback cleans nothing"
