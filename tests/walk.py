"""Runs the commands of a page of the documentation as its reader would, in a clean copy of the tree."""

import fcntl
import os
import pickle
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.bounds import HANG_S
from tests.pages import ROOT, Block, Command, list_blocks
from tests.ports import find_free_port
from tests.small_mnist import write_small_mnist

_LEFT_OUT = re.compile(
    r"\.git|\.venv.*|\.fedmx|\..*_cache|\.hypothesis|build|runs(-\d+)?|bundle|sbom|data|.*\.override\.yml"
)
"""What set-up, runs and tests write into a tree; of the data, only MNIST is part of it."""
_FULL = ("README.md", "docs/first-hour/quick-start.md")
"""Pages whose plain `make run` is run in full, to compare its model."""
_SHORT = {
    "docs/first-hour/tables.md": "ROUNDS=4",
    "docs/first-hour/images.md": "ROUNDS=2",
}
"""What makes the runs of a page short; by default one epoch in one round."""
ONE_SITE = {"CLIENT_WAIT_TIMEOUT=0": "CLIENT_WAIT_TIMEOUT=0 MIN_CLIENTS=1 NUM_ROUNDS=2"}
"""What starts a federation of the one site that a page shows."""
_PLACES = {"docs/operating/sites.md": ONE_SITE}
_AFTER_S = 3.0
"""Seconds that programs of a page have to end when its commands have."""
_RUN_ID = r"\d{8}-\d{6}-[0-9a-f]{4}"


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


@dataclass(frozen=True)
class Walk:
    """The commands of a page, run one after another in one shell.

    Attributes:
        steps: the commands that were run; the last one failed if `exit_code` is not 0.
        folder: the copy of the tree.
        exit_code: of the shell.
    """

    steps: list[Step]
    folder: Path
    exit_code: int

    def find(self, part: str) -> list[Step]:
        """Return the commands that match a pattern."""
        return [step for step in self.steps if re.search(part, step.command)]

    def check(self) -> None:
        """Check that every command succeeded and printed what the page shows, apart from numbers."""
        assert self.exit_code == 0, f"{self.steps[-1].command}\n{self.steps[-1].printed}"
        for step in self.steps:
            assert not (missing := find_missing(step.shown, step.printed)), (
                f"{step.command}\nshown: {missing}\nprinted: {step.printed}"
            )


def walk_page(page: Path, factory: pytest.TempPathFactory) -> Walk:
    """Run a page's commands that need no engine, once in a session: its processes share what came out."""
    base = factory.getbasetemp()
    folder = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "pages"
    folder.mkdir(exist_ok=True)
    name = str(page.relative_to(ROOT).with_suffix("")).replace("/", "-")
    with (folder / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        done = folder / f"{name}.pickle"
        if not done.exists():
            walk = _walk_alone(page, folder / name)
            done.write_bytes(pickle.dumps(walk))
        found = pickle.loads(done.read_bytes())  # noqa: S301 - written above
    assert isinstance(found, Walk)
    return found


def _walk_alone(page: Path, folder: Path) -> Walk:
    """Run a page where /data has folders of a reader's own, and /srv/tasks can be written."""
    copy_tree(folder)
    blocks = [block for block in list_blocks(page) if block.file or is_plain(block)]
    data, tasks = folder.with_name(f"{folder.name}-data"), folder.with_name(f"{folder.name}-tasks")
    for site in ("mine", "hospital-1", "hospital-2", "hospital-3"):
        write_small_mnist(data / site)
    places = {
        r"(?<![\w.}])/data/": f"{data}/",
        "/srv/tasks": str(tasks),
        r"fl\.example\.org": "127.0.0.1",
        r"\b8080\b": str(find_free_port()),
        **_PLACES.get(blocks[0].page, {}),
    }
    return run_blocks(blocks, folder, places)


def is_plain(block: Block) -> bool:
    """Return whether a block's commands are run without an engine."""
    return not block.file and not block.reason and not block.is_in_containers


def copy_tree(folder: Path) -> None:
    """Copy the tree as it is after a download, with a link to this environment."""
    folder.mkdir()
    for path in ROOT.iterdir():
        if path.is_dir() and not _LEFT_OUT.fullmatch(path.name):
            shutil.copytree(
                path, folder / path.name, ignore=shutil.ignore_patterns("__pycache__", "task.txt")
            )
        elif not _LEFT_OUT.fullmatch(path.name):
            shutil.copy2(path, folder / path.name)
    # No links, because they would be what an image has.
    shutil.copytree(ROOT / "data" / "mnist", folder / "data" / "mnist")
    environment = Path(sys.prefix)
    (folder / ".venv").mkdir()
    for name in ("bin", "lib", "pyvenv.cfg"):
        (folder / ".venv" / name).symlink_to(environment / name)
    # What make sees is up to date: nothing is installed.
    for name in ("run", "export", "dev"):
        (folder / ".venv" / f"{name}.ok").touch()


def run_blocks(
    blocks: Sequence[Block],
    folder: Path,
    places: Mapping[str, str] | None = None,
    **settings: str,
) -> Walk:
    """Run blocks of one page in a copy of the tree; a command that fails ends them.

    Args:
        blocks: what to run.
        folder: the copy of the tree.
        places: pattern for a name or an address on the page -> what to use instead.
        **settings: more environment variables.
    """
    commands = [each for block in blocks for each in _list_commands(block, folder)]
    script = "\n".join(["set -e", _shorten_runs(blocks[0].page, folder), *_write_script(blocks, folder)])
    for name, here in (places or {}).items():
        script = re.sub(name, here, script)
    output = folder.with_name(f"{folder.name}.out")
    environment = {"PATH": os.environ["PATH"], "HOME": str(folder), "LANG": "C.UTF-8", **settings}
    with output.open("wb") as stream:
        shell = subprocess.Popen(
            ["bash", "-c", script],
            cwd=folder,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=stream,
            stderr=stream,
            start_new_session=True,
        )
        try:
            code = shell.wait(2 * HANG_S)
        finally:
            _end_all(shell)
    printed = output.read_text(errors="replace").split("\n@@@\n")[1:]
    steps = [Step(each.text, each.shown, text) for each, text in zip(commands, printed, strict=False)]
    return Walk(steps, folder, code)


def _list_commands(block: Block, folder: Path) -> list[Command]:
    if block.file:
        path = folder / block.file
        return [Command(f"mkdir -p {path.parent}\ncat > {path} <<'@@END'\n{block.code}@@END")]
    return [*(Command(text) for text in block.before), *block.commands]


def _write_script(blocks: Sequence[Block], folder: Path) -> Iterator[str]:
    """Write the commands, with a line before each that divides the output."""
    for block in blocks:
        yield f"cd {folder}"
        lines = [command.text for command in _list_commands(block, folder)]
        if block.is_in_background:
            lines[-1] += " &"
        for line in lines:
            yield f"printf '\\n@@@\\n'\n{line}"


def _shorten_runs(page: str, folder: Path) -> str:
    """Return a function of the shell that calls make, with shorter runs and fewer digits."""
    short = _SHORT.get(page, "ROUNDS=1 LOCAL_EPOCHS=1")
    full = "command make run && return\n" if page in _FULL else ""
    return f"""
make() {{
    if test "$*" = run; then
        {full or ":"}
    fi
    test "$1" = run || {{ command make "$@"; return; }}
    case "$* ${{DATA_DIR:+DATA_DIR=}}" in
        *DATA_DIR=*) command make "$@" {short} ;;
        *) command make "$@" {short} DATA_DIR={folder}-data/mine ;;
    esac
}}"""


def _end_all(shell: "subprocess.Popen[bytes]") -> None:
    """End the programs that a page started in the background."""
    with suppress(ProcessLookupError):
        os.killpg(shell.pid, signal.SIGTERM)
        time.sleep(0.1)
        deadline = time.monotonic() + _AFTER_S
        while time.monotonic() < deadline:
            os.killpg(shell.pid, 0)
            time.sleep(0.1)
        os.killpg(shell.pid, signal.SIGKILL)


def find_missing(shown: str, printed: str) -> str:
    """Return the first line of an output on a page that a real output does not have in this order.

    Numbers, run ids, and the class of a prediction may differ, a digest may not. A line `...` stands for any
    number of lines.
    """
    rest = [line.split() for line in printed.splitlines()]
    for line in shown.splitlines():
        if line.strip() in ("", "..."):
            continue
        words = " ".join(map(_make_pattern, line.split()))
        pattern = re.compile(re.sub(r"\bclass \S+", r"class \\S+", words))
        while rest and not pattern.fullmatch(" ".join(rest[0])):
            del rest[0]
        if not rest:
            return line
        del rest[0]
    return ""


def _make_pattern(word: str) -> str:
    if re.fullmatch(r"[0-9a-f]{64}", word):
        return word
    parts = re.split(rf"({_RUN_ID}|\d[\d.,:]*)", word)
    return "".join(
        re.escape(part) if not index % 2 else _RUN_ID if re.fullmatch(_RUN_ID, part) else r"\d[\d.,:e-]*"
        for index, part in enumerate(parts)
    )
