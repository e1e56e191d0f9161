"""Runs the commands of a page of docs, as its reader would, but with shorter runs."""

import os
import re
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.bounds import HANG_S
from tests.pages import ROOT


@dataclass(frozen=True)
class Step:
    """A command of a page.

    Attributes:
        command: the command, as a shell gets it.
        shown: the output on the page.
        printed: its real output.
    """

    command: str
    shown: str
    printed: str


def walk(
    commands: Sequence[tuple[str, str]],
    folder: Path,
    rounds: Mapping[str, int],
    places: Mapping[str, object],
    **settings: object,
) -> list[Step]:
    """Run commands one after another in one shell; a command that fails ends it.

    Args:
        commands: each command, and its output on the page.
        folder: gets the folder `runs`.
        rounds: settings of every run that make it short.
        places: path on the page -> the path to use instead of it.
        **settings: more environment variables.
    """
    # `make run` would set up an environment.
    short = " ".join(f"{name}={value}" for name, value in rounds.items())
    make = f'make() {{\nshift\nenv "$@" {short} {sys.executable} -m local || return\n}}'
    script = "\n".join(["set -e", make, *(f"echo @@@\n{command}" for command, _ in commands)])
    for name, here in {".venv/bin/python": sys.executable, **places}.items():
        script = re.sub(rf"(?<![\w./]){re.escape(name)}(?![\w.])", str(here), script)
    done = subprocess.run(
        ["bash", "-c", script],
        cwd=ROOT,
        env={
            "PATH": os.environ["PATH"],
            "RUNS_DIR": str(folder / "runs"),
            "LISTEN_ADDRESS": "127.0.0.1:0",
            "LINK_SECURITY": "insecure",
            **{name: str(value) for name, value in settings.items()},
        },
        capture_output=True,
        text=True,
        timeout=2 * HANG_S,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    printed = done.stdout.split("@@@\n")[1:]
    return [Step(*each, output) for each, output in zip(commands, printed, strict=True)]
