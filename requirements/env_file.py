"""`.env`: every setting with its default and its meaning, and what a user changed in it.

A comment above each line states the default. Where the value is the stated default, the user changed nothing,
and the value follows the default of a new version. Any other value stays.
"""
# ruff: noqa: INP001 - part of a program of its own

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

HEADER = """\
# What `docker compose` passes on to the containers: every setting with its default. A variable of the shell
# takes precedence, for one command: `NUM_ROUNDS=10 docker compose up`. A line that is removed or left blank
# means the default. A name that is not a setting is refused, unless it begins with X_. `make settings` writes
# this file again and keeps the values that you changed. Do not put secrets in it."""
_OWN_NAMES = "# --- other names"

_ASSIGNMENT = re.compile(r"\s*(?:export\s+)?(?P<name>[A-Za-z_][A-Za-z0-9_]*)\s*[=:]\s*(?P<value>.*)")
_MEANING = re.compile(r"# .* \(default: (?P<default>.*)\)")
_QUOTED = re.compile(r"(?P<quote>['\"])(?P<text>(?:\\.|(?!(?P=quote)).)*)(?P=quote)", re.DOTALL)
_EMPTY = "empty"


@dataclass(frozen=True)
class _Entry:
    """One assignment.

    Attributes:
        name: of the variable.
        lines: as they are in the file; several where a quoted value spans them.
        value: the text after the equals sign.
        default: what the comment above states; None if none does.
        comments: the user's own, above the line.
    """

    name: str
    lines: list[str]
    value: str
    default: str | None
    comments: list[str]

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
    every, trailing = _parse(text)
    entries = _merge(every)
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


def read_values(text: str) -> dict[str, str]:
    """Return the values by name, without quotes and comments; values with variables in them are left out.

    Raises:
        ValueError: a quote is never closed.
    """
    values = {entry.name: _unquote("\n".join([entry.value, *entry.lines[1:]])) for entry in _parse(text)[0]}
    return {name: value for name, value in values.items() if "$" not in value}


def find_repeated(text: str) -> list[str]:
    """Return a line for each assignment that a later one of the same name replaces."""
    every, _ = _parse(text)
    last = _merge(every)
    return [
        f"{entry.name} in .env: set more than once; the last value counts: kept"
        f" {_show(last[entry.name])}, dropped {_show(entry)}"
        for entry in every
        if last[entry.name].lines is not entry.lines
    ]


def _show(entry: _Entry) -> str:
    return " ".join([entry.value, *entry.lines[1:]]) or _EMPTY


def _unquote(value: str) -> str:
    if quoted := _QUOTED.match(value):
        return quoted["text"].replace(f"\\{quoted['quote']}", quoted["quote"])
    return re.sub(r"\s#.*", "", value).strip()


def _merge(every: Sequence[_Entry]) -> dict[str, _Entry]:
    """Return the assignments by name: of several, the last one, with the comments of all."""
    entries: dict[str, _Entry] = {}
    for entry in every:
        before = entries.get(entry.name)
        comments = [*(before.comments if before else []), *entry.comments]
        entries[entry.name] = replace(entry, comments=comments)
    return entries


def _parse(text: str) -> tuple[list[_Entry], list[str]]:
    """Return the assignments in order, and the user's comments after them."""
    entries: list[_Entry] = []
    comments: list[str] = []
    lines = text.splitlines()
    while lines:
        found = _ASSIGNMENT.fullmatch(lines[0])
        if found is None:
            comments.append(lines.pop(0))
            continue
        count = _count_lines(found["name"], found["value"], lines)
        stated = _MEANING.fullmatch(comments[-1]) if comments else None
        default = stated["default"].removesuffix(_EMPTY) if stated else None
        entries.append(_Entry(found["name"], lines[:count], found["value"], default, _keep_own(comments)))
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
