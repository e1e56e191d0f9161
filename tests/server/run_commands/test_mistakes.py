"""`python -m server runs`: one line for each mistake, whatever a record contains."""

import json
import re
import shutil
import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings, strategies

from fedmx.errors import FederationError
from server.run_commands.comparing import compare_lines
from server.run_commands.find import find_runs, read_document
from server.run_commands.listing import list_lines
from server.run_commands.showing import show_lines
from tests.server.federation import Federation
from tests.server.run_commands.conftest import Run

# What is wrong -> the arguments, and the line, in which `.*` stands for anything.
MISTAKES = {
    "unknown": (
        ("show", "nope"),
        "nope: not a run; expected the id of one in RUNS_DIR={folder}, such as {newest}",
    ),
    "mistyped": (
        ("show", "{run}x"),
        "{run}x: not a run; expected the id of one in RUNS_DIR={folder}, perhaps {run}.*",
    ),
    "ambiguous": (("show", "20"), "20: matches 3 runs; expected one of {newest}, .*"),
    "empty": (("show", ""), ": not a run; expected the id of one in RUNS_DIR={folder}, such as {newest}"),
    "elsewhere": (
        ("show", "/{run}"),
        "/{run}: not in RUNS_DIR={folder}; expected the id of a run, or another RUNS_DIR",
    ),
    "one": (("compare", "{run}"), "runs compare: {run}: expected 2 to 26 different runs"),
    "twice": (("compare", "{run}", "{run}"), "runs compare: {run}: expected 2 to 26 different runs"),
    "unconfirmed": (
        ("remove", "{run}"),
        "runs remove: {run}: not confirmed; expected --yes where input is not a terminal",
    ),
    "command": (("frob",), "python -m server runs: argument COMMAND: invalid choice: .*"),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_is_one_line_and_exit_code_2(
    run: Run, runs: list[str], federation: Federation, mistake: str
) -> None:
    arguments, expected = MISTAKES[mistake]
    newest = json.loads(run("--json"))[0]["run_id"]
    names = {"run": runs[0], "newest": newest, "folder": federation.runs_dir}
    with pytest.raises(FederationError) as caught:
        run(*(argument.format(**names) for argument in arguments))
    assert_line(caught.value, expected.format(**names))


# What a folder of runs has -> the line; {folder} is RUNS_DIR.
FAULTS = {
    "file": "RUNS_DIR={folder}: not a folder; expected the folder of the runs",
    "empty": "RUNS_DIR={folder}: has no runs; expected the folder of at least one",
    "torn": "{folder}/run: run.json is not JSON; expected the record of a run",
    "list": "{folder}/run: run.json is not the record of a run; expected the record of a run",
    "damaged": "{folder}/run/run.json: cannot be read: .*; expected the record of a run",
    "newer": (
        "{folder}/run/run.json: a record of format 99, which fedmx 9.9.9 wrote; expected at most format .*,"
        " which fedmx .* writes"
    ),
}


CONTENTS = {
    "torn": "{",
    "list": "[]",
    "damaged": '{"status": "finished", "settings": [1]}',
    "newer": '{"status": "finished", "format": 99, "versions": {"fedmx": "9.9.9"}}',
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_folder_with_a_fault_is_one_line_and_exit_code_2(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fault: str
) -> None:
    folder = tmp_path / "runs"
    monkeypatch.setenv("RUNS_DIR", str(folder))
    if fault == "file":
        folder.write_text("")
    if fault in CONTENTS:
        (folder / "run").mkdir(parents=True)
        (folder / "run" / "run.json").write_text(CONTENTS[fault])
        assert len(run("list").splitlines()) == 2
    with pytest.raises(FederationError) as caught:
        run("show", "latest")
    assert_line(caught.value, FAULTS[fault].format(folder=folder))


def assert_line(error: FederationError, expected: str) -> None:
    assert error.exit_code == 2
    assert re.fullmatch(re.escape(expected).replace(r"\.\*", ".*"), str(error)), str(error)


JSON = strategies.recursive(
    strategies.none()
    | strategies.booleans()
    | strategies.integers()
    | strategies.floats()
    | strategies.text(),
    lambda inner: (
        strategies.lists(inner, max_size=3) | strategies.dictionaries(strategies.text(), inner, max_size=3)
    ),
    max_leaves=5,
)


@given(strategies.data())
@settings(max_examples=100, deadline=None)
def test_whatever_a_record_contains_is_shown_or_is_one_line(
    federation: Federation, runs: list[str], data: strategies.DataObject
) -> None:
    original = federation.runs_dir / runs[0]
    facts = json.loads((original / "run.json").read_text())
    lines = [json.loads(line) for line in (original / "history.jsonl").read_text().splitlines()]
    damaged = data.draw(strategies.sampled_from([facts, *lines]))
    names = strategies.sampled_from(sorted(damaged))
    damaged |= data.draw(strategies.dictionaries(names, JSON, min_size=1, max_size=5))
    with tempfile.TemporaryDirectory() as folder:
        runs_dir = Path(folder)
        (runs_dir / "run").mkdir()
        (runs_dir / "run" / "run.json").write_text(json.dumps(facts))
        (runs_dir / "run" / "history.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
        shutil.copytree(original, runs_dir / "other")
        found = find_runs(runs_dir, ["run", "other"])
        assert len(list(list_lines(found))) == 3
        try:
            documents = [read_document(runs_dir, one) for one in found]
        except FederationError:
            return
        assert list(show_lines(documents[0], runs_dir / "run", found[0].seconds))
        assert list(compare_lines(found, documents))
