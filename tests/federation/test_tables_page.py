"""docs/first-hour/tables.md: its commands train three sites and predict, and its task of one's own loads."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from client.data import read_csv
from client.tasks.tabular import DEFAULTS
from client.trial import run_trial
from tests.pages import ROOT, find_code
from tests.walk import Step, walk_page

PATH = ROOT / "docs" / "first-hour" / "tables.md"
PAGE = PATH.read_text()
ROUNDS = 4
"""Those of a short run of the page."""


@pytest.fixture
def steps(tmp_path_factory: pytest.TempPathFactory) -> list[Step]:
    """The commands of the page that need no engine."""
    walk = walk_page(PATH, tmp_path_factory)
    walk.check()
    return walk.steps


def find(steps: list[Step], part: str) -> Step:
    (step,) = (step for step in steps if re.search(part, step.command))
    return step


@pytest.mark.slow
@pytest.mark.parametrize("part", ["^ls ", "^head -3 ", "^head -2 "])
def test_the_files_are_those_that_the_page_shows(steps: list[Step], part: str) -> None:
    step = find(steps, part)
    assert step.printed == step.shown


@pytest.mark.slow
def test_three_sites_train_and_the_tables_of_the_page_have_the_columns_of_the_real_ones(
    steps: list[Step],
) -> None:
    step = find(steps, "make run")
    headers = re.findall(r"^  (?:round|node) +(?:nodes|examples) .*$", PAGE, re.MULTILINE)
    assert len(headers) == 2
    for header in headers:
        assert header.split() in [line.split() for line in step.printed.splitlines()]
    rows = re.findall(r"^ +(\d+) +3 +\S+ +\S+ +(0\.\d+)", step.printed, re.MULTILINE)
    assert [int(number) for number, _ in rows] == [*range(1, ROUNDS + 1)]
    assert float(rows[-1][1]) > 0.8


@pytest.mark.slow
def test_every_new_patient_has_a_class_and_a_probability(steps: list[Step]) -> None:
    step = find(steps, "predict")
    line = r"\S*new_patients\.csv\[(\d+)\]: class (?:yes|no), probability [01]\.\d{4}"
    assert re.match(line, step.shown)
    numbers = [re.fullmatch(line, each) for each in step.printed.splitlines()]
    assert [int(match[1]) for match in numbers if match] == [*range(15)]


@pytest.mark.slow
def test_a_hospital_is_evaluated_with_the_names_of_its_classes(steps: list[Step]) -> None:
    step = find(steps, "evaluate")
    for text in (step.shown, step.printed):
        assert "1000 examples" in text
        assert re.search(r"^no +\d+ +\d+", text, re.MULTILINE)
        assert re.search(r"^yes +\d+ +\d+", text, re.MULTILINE)


def test_the_page_has_the_options_of_the_task_with_their_defaults() -> None:
    found = {}
    for names, default in re.findall(r"^\| (`\w+`(?:, `\w+`)*) \| `(.*?)` \|", PAGE, re.MULTILINE):
        for name in names.split(", "):
            found[name.strip("`")] = json.loads(default)
    assert found == DEFAULTS


def test_the_functions_of_the_page_load_what_the_built_in_task_loads(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = "from client.mx import gluon\n\n\ndef build_model(schema):\n    return gluon.nn.Dense(2)\n"
    (tmp_path / "tables_task.py").write_text(find_code("from client.data import encode, read_csv") + model)
    monkeypatch.syspath_prepend(str(tmp_path))
    subprocess.run([sys.executable, "-m", "examples.hospitals", str(tmp_path / "data")], cwd=ROOT, check=True)
    site = tmp_path / "data" / "hospital-b"
    trial = run_trial("tables_task", site, options={}, batch_size=100)
    assert trial.evaluation["num-examples"] == 1000
    assert trial.schema is not None
    assert [*trial.schema] == list(read_csv(site, ignore=["patient_id"]).columns)
