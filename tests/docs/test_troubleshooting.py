"""The page about messages lists every event that programs log as a WARNING or an ERROR, and no other."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "operating" / "troubleshooting.md"
PROGRAMS = ("client", "fedmx", "local", "server")
# Where an event's name is a parameter: its callers have the names.
PASSED_ON = {"fedmx/log.py", "fedmx/link/repeats.py", "server/few_lines.py"}


def list_warnings() -> Iterator[tuple[str, str]]:
    """Yield the place and the name of each event that is logged by `warn`, `FewLines` or `logger.error`."""
    for path in sorted(path for folder in PROGRAMS for path in (ROOT / folder).rglob("*.py")):
        place = str(path.relative_to(ROOT))
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and _is_logging(node.func):
                texts = [text for argument in node.args if (text := _text_of(argument))]
                # `Repeats.warn` has a key before the name.
                if texts:
                    yield place, texts[-1]
                else:
                    assert place in PASSED_ON or not node.args, f"{place}:{node.lineno}"


def _is_logging(function: ast.expr) -> bool:
    name = function.attr if isinstance(function, ast.Attribute) else getattr(function, "id", "")
    return name in ("warn", "FewLines") or ast.unparse(function) == "logger.error"


def _text_of(argument: ast.expr) -> str:
    if not isinstance(argument, ast.Constant) or not isinstance(argument.value, str):
        return ""
    return "" if argument.value == "%s" else argument.value


def list_documented() -> Iterator[str]:
    """Yield the events in the first column of the tables about warnings."""
    text = PAGE.read_text()
    for section in re.findall(r"^## Warnings of .*?(?=^## )", text, re.MULTILINE | re.DOTALL):
        yield from re.findall(r"^\| `([^`]+)` \|", section, re.MULTILINE)


def is_same(documented: str, logged: str) -> bool:
    """Return whether both are the same event; on the page, a long name ends with `...`."""
    return logged == documented or (
        documented.endswith("...") and logged.startswith(documented.removesuffix("...").strip())
    )


def test_every_warning_of_the_programs_is_on_the_page() -> None:
    documented = list(list_documented())
    missing = [
        f"{place}: {logged}"
        for place, logged in list_warnings()
        if not any(is_same(each, logged) for each in documented)
    ]
    assert not missing


def test_every_warning_on_the_page_is_one_of_the_programs() -> None:
    logged = {name for _, name in list_warnings()}
    assert len(logged) > len(PROGRAMS)
    assert not [each for each in list_documented() if not any(is_same(each, name) for name in logged)]


def test_no_warning_is_on_the_page_twice() -> None:
    documented = list(list_documented())
    assert len(documented) == len(set(documented))


def list_refusals() -> Iterator[tuple[str, str]]:
    """Yield the place and the text of each refusal, without what is filled in."""
    for path in sorted((ROOT / "fedmx").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and ast.unparse(node.func) == "RefusedError" and node.args:
                texts = [
                    each.value
                    for each in ast.walk(node.args[0])
                    if isinstance(each, ast.Constant) and isinstance(each.value, str)
                ]
                if "".join(texts).strip():
                    yield f"{path.relative_to(ROOT)}:{node.lineno}", " ".join(texts)


def test_every_refusal_of_a_client_is_on_the_page() -> None:
    text = PAGE.read_text()
    section = text[text.index("## A client is refused") : text.index("## Warnings of the server")]
    rows = re.findall(r"^\| (.*?`.*?) \| ", section, re.MULTILINE)
    parts = [
        part.strip(" .")
        for row in rows
        for code in re.findall(r"`([^`]+)`", row)
        for part in code.split("...")
    ]
    # A single word such as `node` is in most of them.
    known = [part for part in parts if " " in part or "=" in part or "_" in part]
    refusals = list(list_refusals())
    assert refusals
    assert not [(place, text) for place, text in refusals if not any(part in text for part in known)]
