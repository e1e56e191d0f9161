"""The page about commands lists those that exist, with options that exist."""

import re
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "reference" / "commands.md").read_text()


@cache
def ask_for_help(*command: str) -> str:
    """Return what a command prints with --help."""
    done = subprocess.run(
        [sys.executable, "-m", *command, "--help"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    return done.stdout


def list_commands(*command: str) -> list[str]:
    """Return the names of the commands below a command, as its --help lists them."""
    found = re.search(r"^commands:\n  COMMAND\n((?:    .*\n)+)", ask_for_help(*command), re.MULTILINE)
    return re.findall(r"^    (\S+)", found[1], re.MULTILINE) if found else []


def list_rows(program: str) -> list[list[str]]:
    """Return the pieces of code in the first column of each row about a program."""
    section = PAGE[PAGE.index(f"## python -m {program}\n") :]
    section = section[: section.index("\n## ", 1)]
    return [re.findall(r"`([^`]+)`", row) for row in re.findall(r"^\| (`.*?) \| ", section, re.MULTILINE)]


@pytest.mark.parametrize("program", ["server", "client"])
def test_each_command_of_a_program_is_in_its_table_and_no_other(program: str) -> None:
    documented = set()
    for first, *others in list_rows(program):
        words = [word for word in first.split()[3:] if re.fullmatch(r"[a-z-]+", word)]
        words = [word for word in words if not word.startswith("-")]
        documented.add(" ".join(words))
        documented.update(" ".join([*words[:-1], other]) for other in others)
    existing = {""}
    for command in list_commands(program):
        below = list_commands(program, command)
        existing.update(f"{command} {each}" for each in below)
        if not below:
            existing.add(command)
    assert documented == existing


@pytest.mark.parametrize("program", ["server", "client"])
def test_each_option_in_a_table_exists(program: str) -> None:
    count = 0
    for first, *_ in list_rows(program):
        words = re.findall(r"(?<![\w-])[a-z][a-z-]*", first.partition(f"-m {program}")[2].partition(" [")[0])
        known = {"", *list_commands(program), *list_commands(program, *words[:1])} if words else {""}
        command = [word for word in words[:2] if word in known]
        options = re.findall(r"--[a-z-]+", first)
        missing = [each for each in options if each not in ask_for_help(program, *command)]
        assert not missing, first
        count += len(options)
    assert count


def test_each_target_of_make_is_in_its_table_and_no_other() -> None:
    section = PAGE[PAGE.index("## make\n") : PAGE.index("## python -m server")]
    names = [
        name
        for row in re.findall(r"^\| (`.*?) \| ", section, re.MULTILINE)
        for name in re.findall(r"`([^`]+)`", row)
    ]
    targets = re.findall(r"^([a-z-]+):.*?## ", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert sorted(names) == sorted(targets)
