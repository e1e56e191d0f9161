"""The documents, for tests that run what they show.

A comment in a page's source directly before a block says how the block is tested; several may stand there:

- `<!-- not run: REASON -->`: it is not, because REASON.
- `<!-- slow: REASON -->`: a test of its own runs it, which is left out by default.
- `<!-- in containers too -->`: what needs an engine needs this block before it.
- `<!-- before: COMMAND -->`: what a reader has done before; it is run first, and not shown.
- `<!-- in the background -->`: its last command goes on while the next blocks are run, as in another shell.

All other blocks of commands are run in their order, each from the project's folder. A block of code whose
first line names a file, such as `# my_task.py`, is written to that file.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]
PAGES = (ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md")))

_BLOCK = re.compile(r"((?:^<!-- [^\n]* -->\n)*)^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_COMMENT = re.compile(
    r"^<!-- (not run|slow|before|in containers too|in the background)(?:: (.*?))? -->$", re.MULTILINE
)
_COMMAND = re.compile(r"^\$ (.*(?:\n> .*)*)\n?((?:(?!\$ ).*\n)*)", re.MULTILINE)
_FILE = re.compile(r"# ((?:\w[\w-]*/)*\w[\w.-]*\.\w+)\b")
_ENGINE = re.compile(
    r"\bdocker |FROM=containers|"
    r"\bmake (?:build|up|gpu|client|down|logs|ps|shell|pki-\w+|bundle|watch|status)\b|"
    r"\bmake (?:superlink|swarm)(?:-down)?\b"
)


@dataclass(frozen=True)
class Command:
    """A command of a page, and the output that the page shows below it."""

    text: str
    shown: str = ""


@dataclass(frozen=True)
class Block:
    """A block of commands, or of code that is written to a file.

    Attributes:
        page: the page's path in the project.
        line: the number of its first line.
        commands: its commands.
        before: commands that a reader has run before.
        reason: why its commands are not run, or why they are slow; empty if they are run.
        is_slow: whether a slow test of its own runs it.
        is_in_containers: whether its commands need an engine.
        is_needed_there: whether commands that need an engine need it as well.
        is_in_background: whether its last command goes on beside the next blocks.
        file: the file that a block of code is written to; empty for commands.
        code: what is written to it.
    """

    page: str
    line: int
    commands: tuple[Command, ...] = ()
    before: tuple[str, ...] = ()
    reason: str = ""
    is_slow: bool = False
    is_in_containers: bool = False
    is_needed_there: bool = False
    is_in_background: bool = False
    file: str = ""
    code: str = ""


def list_blocks(page: Path) -> list[Block]:
    """Return a page's blocks of commands, and those that are written to a file, in their order."""
    text = page.read_text()
    name = str(page.relative_to(ROOT)) if page.is_relative_to(ROOT) else page.name
    return [
        block
        for found in _BLOCK.finditer(text)
        for block in _read_block(name, text.count("\n", 0, found.start(2)) + 1, *found.groups())
    ]


def _read_block(page: str, line: int, comments: str, language: str, text: str) -> Iterator[Block]:
    marks: dict[str, list[str]] = {}
    for kind, value in _COMMENT.findall(comments):
        marks.setdefault(kind, []).append(value)
    reason = " ".join(marks.get("not run", []) + marks.get("slow", []))
    file = _FILE.match(text) if language in ("python", "yaml") else None
    if language == "console":
        commands = tuple(
            Command(found[1].replace("\n> ", "\n"), found[2]) for found in _COMMAND.finditer(text)
        )
        yield Block(
            page,
            line,
            commands,
            tuple(marks.get("before", ())),
            reason,
            "slow" in marks,
            any(_ENGINE.search(command.text) for command in commands),
            "in containers too" in marks,
            "in the background" in marks,
        )
    elif file and not reason:
        yield Block(page, line, is_needed_there=True, file=file[1], code=text)


def find_code(part: str) -> str:
    """Return the one fenced block of all documents that contains a text.

    Raises:
        ValueError: no block, or several different ones, contain it.
    """
    found: set[str] = set()
    for page in PAGES:
        found.update(
            block for block in re.findall(r"```\w*\n(.*?)```", page.read_text(), re.DOTALL) if part in block
        )
    (block,) = found
    return block
