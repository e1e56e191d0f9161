"""No test depends on the speed of the machine: timeouts only guard against hanging."""

import ast
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[1]
WAITS = {"wait", "join", "communicate", "wait_procs", "run", "check_output"}
POLL_S = 1.0


def list_tight_bounds(path: Path) -> Iterator[str]:
    """Yield the waits and comparisons of a module whose bound is a literal number."""
    for node in ast.walk(ast.parse(path.read_text())):
        bounds: list[ast.expr] = []
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in WAITS:
            bounds = [keyword.value for keyword in node.keywords if keyword.arg in ("timeout", "timeout_s")]
            bounds += node.args[:1]
        elif isinstance(node, ast.Compare) and "time.monotonic() -" in ast.unparse(node.left):
            bounds = node.comparators
        for bound in bounds:
            if (
                isinstance(bound, ast.Constant)
                and isinstance(bound.value, int | float)
                and bound.value > POLL_S
            ):
                yield f"{path.relative_to(ROOT)}: {ast.unparse(node)}"


def test_no_test_depends_on_the_speed_of_the_machine() -> None:
    found = [line for path in sorted((ROOT / "tests").rglob("*.py")) for line in list_tight_bounds(path)]
    assert found == []
