"""`.env`: every setting with its default and its meaning, and what a user changed in it.

A comment above each line states the default. Where the value is the stated default, the user changed nothing,
and the value follows the default of a new version. Any other value stays.
"""
# ruff: noqa: INP001 - part of a program of its own

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

HEADER = """\
# What `docker compose` passes on to the containers: every setting with its default. A variable of the shell
# takes precedence, for one command: `NUM_ROUNDS=10 docker compose up`. A line that is removed or left blank
# means the default. A name that is not a setting is refused, unless it begins with X_. `make settings` writes
# this file again and keeps the values that you changed. Do not put secrets in it."""
_OWN_NAMES = "# --- other names"

_ASSIGNMENT = re.compile(r"\s*(?:export\s+)?(?P<name>[A-Za-z_][A-Za-z0-9_]*)\s*[=:]\s*(?P<value>.*)")
_MEANING = re.compile(r"# .* \(default: (?P<default>.*)\)")
_EMPTY = "empty"


@dataclass
class _Entry:
    """One assignment.

    Attributes:
        lines: as they are in the file; several where a quoted value spans them.
        value: the text after the equals sign.
        default: what the comment above states; None if none does.
        comments: the user's own, above the line.
    """

    lines: list[str]
    value: str
    default: str | None
    comments: list[str] = field(default_factory=list)

    @property
    def is_changed(self) -> bool:
        return self.value.strip() != self.default


def update(text: str, sections: Mapping[str, Sequence[tuple[str, str, str]]]) -> str:
    """Return the text of `.env` with each setting once, in order.

    Args:
        text: of the file as it is; empty if there is none.
        sections: by title, the rows of name, default and meaning.

    Raises:
        ValueError: a quote is never closed, so that where its value ends depends on the order of the lines.
    """
    entries, trailing = _parse(text)
    lines = HEADER.splitlines()
    for title, rows in sections.items():
        lines += ["", f"# --- {title}"]
        for name, default, meaning in rows:
            entry = entries.pop(name, None)
            lines += entry.comments if entry else []
            lines.append(f"# {meaning} (default: {default or _EMPTY})")
            lines += entry.lines if entry and entry.is_changed else [f"{name}={default}"]
    if entries or trailing:
        lines += ["", _OWN_NAMES]
    for entry in entries.values():
        lines += [*entry.comments, *entry.lines]
    return "\n".join([*lines, *trailing, ""])


def _parse(text: str) -> tuple[dict[str, _Entry], list[str]]:
    """Return the assignments by name, of which the last counts, and the user's comments after them."""
    entries: dict[str, _Entry] = {}
    comments: list[str] = []
    lines = text.splitlines()
    while lines:
        found = _ASSIGNMENT.fullmatch(lines[0])
        if found is None:
            comments.append(lines.pop(0))
            continue
        count = _count_lines(found["name"], found["value"], lines)
        stated = _MEANING.fullmatch(comments[-1]) if comments else None
        before = entries.get(found["name"])
        entries[found["name"]] = _Entry(
            lines=lines[:count],
            value=found["value"],
            default=stated["default"].removesuffix(_EMPTY) if stated else None,
            comments=[*(before.comments if before else []), *_keep_own(comments)],
        )
        comments = []
        lines = lines[count:]
    return entries, _keep_own(comments)


def _count_lines(name: str, value: str, lines: Sequence[str]) -> int:
    """Return how many lines a value spans: several if it opens a quote that a later line closes."""
    quote = value[:1]
    if quote not in ("'", '"') or _closes(quote, value[1:]):
        return 1
    for count, line in enumerate(lines[1:], 2):
        if _closes(quote, line):
            return count
    raise ValueError(f"{name}={value}: the quote is never closed; expected a closing {quote}")


def _closes(quote: str, text: str) -> bool:
    return re.search(rf"(?<!\\){quote}", text) is not None


def _keep_own(comments: Sequence[str]) -> list[str]:
    """Return the comments that are not this program's."""
    generated = {*HEADER.splitlines(), ""}
    return [
        line
        for line in comments
        if line not in generated and not line.startswith("# --- ") and not _MEANING.fullmatch(line)
    ]
