"""The documents, for tests that run what they show."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[1]
PAGES = (ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md")))


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


def list_commands(page: Path, heading: str) -> list[tuple[str, str]]:
    """Return the commands of a section, each with the output that the page shows below it."""
    section = page.read_text().split(f"\n## {heading}\n")[1].split("\n## ")[0]
    blocks = re.findall(r"```console\n(.*?)```", section, re.DOTALL)
    found = (
        each
        for block in blocks
        for each in re.findall(r"^\$ (.*(?:\n> .*)*)\n((?:[^$].*\n)*)", block, re.MULTILINE)
    )
    return [(command.replace("\n> ", "\n"), shown) for command, shown in found]
