"""The files of deploy/monitoring: valid, and about metrics that a server has."""

import json
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from fedmx.fields import describe
from fedmx.settings import ServerSettings
from server.status.metrics import Metrics, categorize
from tests.server.status.history import build_line
from tests.tools import ROOT, find_program

FOLDER = ROOT / "deploy" / "monitoring"
DASHBOARD = FOLDER / "grafana" / "dashboard.json"


def promtool(*arguments: str, given: bytes = b"") -> "subprocess.CompletedProcess[bytes]":
    program = find_program("promtool", "REQUIRE_PROMETHEUS")
    return subprocess.run([program, *arguments], cwd=ROOT, input=given, capture_output=True, check=False)


@pytest.fixture(scope="module")
def exposition() -> bytes:
    """All metrics, of a run with differential privacy."""
    metrics = Metrics({"server": 2e9, "authority": 3e9})
    metrics.note_run("20260102-030405-abcd", describe(ServerSettings()))
    metrics.add(build_line(1, nodes=3))
    return metrics.to_text()[0]


def list_families(exposition: bytes) -> set[str]:
    """List the names that have samples, or whose buckets, sums and counts have."""
    found = re.findall(r"^(fedmx_\w+)", exposition.decode(), re.MULTILINE)
    labelled = re.findall(r"^# TYPE (fedmx_\w+) gauge", exposition.decode(), re.MULTILINE)
    return {*found, *labelled}


def test_promtool_accepts_the_metrics(exposition: bytes) -> None:
    checked = promtool("check", "metrics", given=exposition)
    assert (checked.returncode, checked.stdout, checked.stderr) == (0, b"", b"")


def test_promtool_accepts_the_configuration_and_the_rules() -> None:
    for command, name in (("config", "prometheus.yml"), ("rules", "rules.yml")):
        checked = promtool("check", command, str(FOLDER / name))
        assert checked.returncode == 0, checked.stdout + checked.stderr


def test_the_rules_alert_when_they_should_and_only_then() -> None:
    tested = promtool("test", "rules", str(Path(__file__).parent / "rules_test.yml"))
    assert tested.returncode == 0, (tested.stdout + tested.stderr).decode()


def test_the_rules_name_only_metrics_that_exist(exposition: bytes) -> None:
    named = set(re.findall(r"\bfedmx_\w+", (FOLDER / "rules.yml").read_text()))
    assert len(named) >= 5
    assert named <= list_families(exposition)


def list_expressions(value: Any) -> Iterator[str]:
    """Yield every expression and query in the dashboard."""
    if isinstance(value, dict):
        yield from (
            each for name, each in value.items() if name in ("expr", "query") and isinstance(each, str)
        )
        value = list(value.values())
    if isinstance(value, list):
        for each in value:
            yield from list_expressions(each)


def test_the_dashboard_names_only_metrics_that_exist(exposition: bytes) -> None:
    dashboard = json.loads(DASHBOARD.read_text())
    named = set(re.findall(r"\bfedmx_\w+", " ".join(list_expressions(dashboard))))
    assert len(named) >= 15
    assert named <= list_families(exposition)


def test_the_dashboards_panels_do_not_overlap() -> None:
    taken: set[tuple[int, int]] = set()
    panels = json.loads(DASHBOARD.read_text())["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    for panel in panels:
        place = panel["gridPos"]
        cells = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert max(x for x, _ in cells) < 24
        assert not cells & taken
        taken |= cells


def test_the_dashboards_expressions_can_be_parsed(tmp_path: Path) -> None:
    expressions = [
        each for each in list_expressions(json.loads(DASHBOARD.read_text())) if "{instance=~" in each
    ]
    rules = [{"record": f"panel:{number}", "expr": each} for number, each in enumerate(expressions)]
    # JSON is YAML.
    (tmp_path / "rules.yml").write_text(json.dumps({"groups": [{"name": "dashboard", "rules": rules}]}))
    checked = promtool("check", "rules", str(tmp_path / "rules.yml"))
    assert checked.returncode == 0, checked.stdout + checked.stderr
    assert f"{len(rules)} rules found" in checked.stdout.decode()


@pytest.mark.parametrize(
    ("reason", "category"),
    [
        ("array 'w' has values that are not finite", "not_finite"),
        ("metric 'loss' is nan, expected a finite number", "not_finite"),
        ("array 'w' is missing", "arrays"),
        ("2 array records, expected 1", "arrays"),
        ("metric 'f1' is not one of loss", "metrics"),
        ("num-examples is -1, expected a positive number up to 2**53", "metrics"),
        ("101 metrics, expected at most 100", "metrics"),
        ("0 metric records, expected 1", "metrics"),
        ("counts by class, expected none", "counts"),
        ("ZeroDivisionError: <script>", "error"),
        ("", "error"),
    ],
)
def test_reasons_have_few_categories(reason: str, category: str) -> None:
    assert categorize(reason) == category
