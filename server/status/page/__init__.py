"""Builds the page of a run: one HTML document without outside resources, which is live or a report.

The live page asks the server for `status.json`. A report has the documents of its runs in the page, so that
it can be sent as one file. Both are made of the same template, styles and scripts, which are in this folder.
"""

import base64
import hashlib
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

from fedmx.fields import describe, explain
from fedmx.settings import ServerSettings

_FOLDER = Path(__file__).parent
# Each one uses what those before it define.
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
# Inside of an element `script`, these could end it or begin a comment.
_ESCAPES = {ord(character): f"\\u{ord(character):04x}" for character in "<>&"}


@cache
def build_page() -> str:
    """Return the live page."""
    return _fill({"run": None, "others": []}, ["connect-src 'self'"])


def build_report(document: Mapping[str, Any], others: Sequence[Mapping[str, Any]] = ()) -> str:
    """Return a page with the documents of runs in it, which needs no server.

    Args:
        document: the run that the report is about.
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
    text = (_FOLDER / "index.html").read_text(encoding="utf-8")
    # The data comes last, so that nothing in it is taken for a place in the template.
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
    return (_FOLDER / "page.css").read_text(encoding="utf-8")


@cache
def _read_script() -> str:
    """Return all scripts as one, whose names are invisible outside of it."""
    parts = [(_FOLDER / name).read_text(encoding="utf-8") for name in _SCRIPTS]
    return '(() => {\n"use strict";\n' + "\n".join(parts) + "})();\n"


@cache
def _describe_settings() -> dict[str, dict[str, object]]:
    """Return the default and the meaning of each setting of the server."""
    defaults = describe(ServerSettings())
    return {
        name: {"default": defaults[name], "meaning": meaning}
        for name, _, meaning in explain(ServerSettings())
    }


def _embed(data: Mapping[str, Any]) -> str:
    """Return data as JSON that cannot end the element it is in."""
    return json.dumps(_leave_out_infinite(data), separators=(",", ":")).translate(_ESCAPES)


def _leave_out_infinite(value: Any) -> Any:
    """Return a value without numbers that JSON does not have, which a damaged record may contain."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {str(name): _leave_out_infinite(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [_leave_out_infinite(item) for item in value]
    return value


CONTENT_SECURITY_POLICY = "; ".join([*_list_rules(), "connect-src 'self'", "frame-ancestors 'none'"])
"""The policy of the live page, for its HTTP header."""
