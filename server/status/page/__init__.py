"""Builds the page of a run, live or as a report: one HTML document without outside resources.

The live page polls `status.json` from the server. A report contains the documents of its runs and can be sent
as one file. Both use the template, styles and scripts in this folder. `bundle.json` has all of them, and
`make settings` writes it.
"""

import base64
import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

from fedmx.fields import describe, explain
from fedmx.settings import NOT_COMPARED, ServerSettings
from server.status.json_text import encode

_FOLDER = Path(__file__).parent
# Each script uses definitions of those before it.
_SCRIPTS = (
    "dom.js",
    "format.js",
    "scale.js",
    "table.js",
    "chart.js",
    "run.js",
    "summary.js",
    "curves.js",
    "nodes.js",
    "comparison.js",
    "page.js",
)
# Inside a `script` element, these could end it or begin a comment.
_ESCAPES = {ord(character): f"\\u{ord(character):04x}" for character in "<>&"}


@cache
def build_page() -> str:
    """Return the live page."""
    return _fill({"run": None, "others": []}, ["connect-src 'self'"])


def build_report(document: Mapping[str, Any], others: Sequence[Mapping[str, Any]] = ()) -> str:
    """Return a page that contains the documents of runs and needs no server.

    Args:
        document: the run to report.
        others: runs to compare with it.
    """
    return _fill({"run": document, "others": list(others)}, [])


def _fill(data: Mapping[str, Any], allowed: Iterable[str]) -> str:
    """Return the template with styles, scripts and data, and a policy that allows nothing else."""
    parts = {
        "policy": "; ".join([*_list_rules(), *allowed]),
        "style": _read_style(),
        "script": _read_script(),
        "data": _embed({**data, "settings": _describe_settings()}),
    }
    text = _read("index.html")
    # The data comes last: a placeholder in it must not be replaced.
    for name in ("policy", "style", "script", "data"):
        before, _, after = text.partition(f"{{{{{name}}}}}")
        text = f"{before}{parts[name]}{after}"
    return text


def _list_rules() -> list[str]:
    return [
        "default-src 'none'",
        f"script-src '{_hash(_read_script())}'",
        f"style-src '{_hash(_read_style())}'",
        # The icon in the tab.
        "img-src data:",
        "base-uri 'none'",
        "form-action 'none'",
    ]


def _hash(text: str) -> str:
    return f"sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}"


@cache
def _read_style() -> str:
    return _read("page.css")


@cache
def _read_script() -> str:
    """Return all scripts as one, in a scope of its own."""
    parts = [_read(name) for name in _SCRIPTS]
    return '(() => {\n"use strict";\n' + "\n".join(parts) + "})();\n"


def _read(name: str) -> str:
    """Return the text of a file of this folder."""
    path = _FOLDER / name
    if path.is_file():
        return path.read_text(encoding="utf-8")
    # A Flower App Bundle cannot contain files of these kinds.
    text: str = json.loads((_FOLDER / "bundle.json").read_text(encoding="utf-8"))[name]
    return text


@cache
def _describe_settings() -> dict[str, dict[str, object]]:
    """Return what the page shows of each setting of the server besides its value."""
    defaults = describe(ServerSettings())
    return {
        name: {"default": defaults[name], "meaning": meaning, "is_compared": name not in NOT_COMPARED}
        for name, _, meaning in explain(ServerSettings())
    }


def _embed(data: Mapping[str, Any]) -> str:
    """Return data as JSON that cannot end the element that contains it."""
    return encode(data).translate(_ESCAPES)


CONTENT_SECURITY_POLICY = "; ".join([*_list_rules(), "connect-src 'self'", "frame-ancestors 'none'"])
"""The policy of the live page, for its HTTP header."""
