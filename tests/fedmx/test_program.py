"""How a program ends: real processes, their exit codes and their output."""

import re

import pytest

from tests.bounds import HANG_S
from tests.fedmx.processes import run, start


def test_a_program_that_succeeds_exits_with_0_and_its_output_is_complete() -> None:
    assert run("print('done', end='')") == (0, "done", "")


def test_output_that_its_encoding_does_not_have_is_escaped() -> None:
    code, out, _ = run(
        "sys.stdout.reconfigure(encoding='ascii', errors=sys.stdout.errors); print('a\\u00e9\\ud800')"
    )
    assert (code, out) == (0, "a\\xe9\\ud800\n")


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


def test_all_invalid_settings_are_reported_one_per_line() -> None:
    assert run("raise errors.SettingsError(['A=1: wrong', 'B=2: wrong'])") == (
        2,
        "",
        "A=1: wrong\nB=2: wrong\n",
    )


def test_an_error_is_a_line_of_the_log_once_it_is_configured() -> None:
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
def test_only_a_program_that_succeeds_exits_with_0(leave: str) -> None:
    code, _, err = run(leave)
    assert code == 1
    assert "Traceback (most recent call last)" in err


@pytest.mark.parametrize("argument", ["--help", "--version"])
def test_a_program_exits_with_0_after_its_help(argument: str) -> None:
    body = """
        from fedmx.program import ArgumentParser
        parser = ArgumentParser(prog="small")
        parser.add_argument("--version", action="version", version="small 1")
        parser.parse_args()
        show("not reached")
    """
    code, out, err = run(body, argument)
    assert (code, err) == (0, "")
    assert "small" in out
    assert "not reached" not in out


def test_threads_that_still_run_do_not_delay_the_end() -> None:
    assert run("threading.Thread(target=time.sleep, args=(60,)).start()")[0] == 0


def test_the_exit_code_does_not_depend_on_a_reader_of_the_output() -> None:
    process = start("sys.stdin.read(); print('unread'); raise errors.TooFewNodesError('one came')")
    assert process.stdout is not None
    process.stdout.close()
    _, err = process.communicate("", timeout=HANG_S)
    assert (process.returncode, err) == (3, "one came\n")
