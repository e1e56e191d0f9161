"""Counts the lines of a script's and of a task's model, data and loop."""

import ast
from pathlib import Path

_FOLDER = Path(__file__).parent


def count_lines(name: str) -> tuple[int, int]:
    """Return the lines of a kind's script, and of its task.

    Blank lines, comments and docstrings do not count, nor does the part of a script that seeds, calls the
    other parts and prints.
    """
    return _count(_FOLDER / name / "plain.py"), _count(_FOLDER / name / "task.py")


def _count(path: Path) -> int:
    text = path.read_text()
    statements = [node for node in ast.walk(ast.parse(text)) if isinstance(node, ast.stmt)]
    left_out = {line for node in statements if _is_left_out(node) for line in _lines_of(node)}
    lines = enumerate(text.splitlines(), 1)
    return sum(1 for number, line in lines if number not in left_out and _is_code(line))


def _is_code(line: str) -> bool:
    return bool(line.strip()) and not line.strip().startswith("#")


def _is_left_out(node: ast.stmt) -> bool:
    is_docstring = isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
    is_entry = isinstance(node, ast.If) and ast.unparse(node.test) == "__name__ == '__main__'"
    return is_docstring or is_entry or (isinstance(node, ast.FunctionDef) and node.name == "main")


def _lines_of(node: ast.stmt) -> range:
    return range(node.lineno, (node.end_lineno or node.lineno) + 1)
