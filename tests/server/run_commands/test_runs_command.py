"""`python -m server runs`: what it prints of real runs."""

import io
import json
import os
import pty
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from fedmx import __version__, run_state
from fedmx.errors import DataError, FederationError
from fedmx.goals import BestMetric
from server.run_commands import text
from server.run_commands.settings_shown import list_changed, list_differing
from tests.bounds import HANG_S
from tests.server.federation import Federation
from tests.server.run_commands.conftest import Run, train
from tests.tools import ROOT


def columns_of(line: str) -> list[str]:
    return re.split(r"  +", line.strip())


@pytest.mark.parametrize("arguments", [(), ("list",)])
def test_runs_are_listed_with_their_best_round(run: Run, runs: list[str], arguments: tuple[str, ...]) -> None:
    header, *lines = run(*arguments).splitlines()
    assert columns_of(header) == ["ID", "NAME", "STATUS", "ROUNDS", "BEST", "DURATION", "STARTED"]
    listed = {line.split()[0]: line for line in lines}
    assert set(listed) == set(runs)
    for values in ("first try", "finished", "4/4", "loss 1.6 in round 4"):
        assert values in columns_of(listed[runs[0]])
    assert "failed" in columns_of(listed[runs[2]])


@pytest.mark.parametrize("arguments", [("--json",), ("list", "--json"), ("--json", "list")])
def test_the_list_is_available_as_json(run: Run, runs: list[str], arguments: tuple[str, ...]) -> None:
    found = {one["run_id"]: one for one in json.loads(run(*arguments))}
    assert set(found) == set(runs)
    assert found[runs[0]]["tags"] == ["mlp", "iid"]
    assert found[runs[1]]["best"] == {"round": 3, "metric": "loss", "value": pytest.approx(1.4)}


def test_a_folder_without_runs_has_an_empty_list(
    run: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("RUNS_DIR", str(tmp_path / "absent"))
    assert str(tmp_path / "absent") in run("list")
    assert json.loads(run("list", "--json")) == []


def test_a_run_is_shown_with_curves_settings_nodes_and_files(
    run: Run, runs: list[str], federation: Federation
) -> None:
    shown = run("show", runs[0])
    for value in (
        "first try",
        "mlp, iid",
        "finished",
        "4/4",
        "loss 1.6 in round 4",
        f"fedmx {__version__}",
        "LEARNING_RATE=0.5",
        "0.1 to 0.4",
        f"{federation.runs_dir / runs[0] / 'model.npz'}",
        json.loads(run("show", runs[0], "--json"))["model_sha256"],
    ):
        assert value in shown
    assert "MOMENTUM=" not in shown
    assert {"n0", "n1"} < {line.split()[0] for line in shown.splitlines() if line.strip()}
    assert "two\n            lines" in run("show", runs[1])


def test_a_run_is_available_as_json(run: Run, runs: list[str]) -> None:
    document = json.loads(run("show", runs[0], "--json"))
    assert (document["run_id"], document["name"], document["status"]) == (runs[0], "first try", "finished")
    assert document["curves"]["evaluate"]["accuracy"] == [0.1, 0.2, 0.3, 0.4]


def test_a_run_that_ended_before_its_first_round_is_shown_with_the_reason(run: Run, runs: list[str]) -> None:
    shown = run("show", "latest")
    assert runs[2] in shown
    assert "CLIENT_WAIT_TIMEOUT" in shown
    assert "curves" not in shown


def test_runs_are_compared_by_settings_metrics_and_curves_in_80_columns(run: Run, runs: list[str]) -> None:
    compared = run("compare", *runs[:2])
    rows = [columns_of(line) for line in compared.splitlines()]
    assert ["A", runs[0], "first try", "finished", "4/4"] in [row[:5] for row in rows]
    assert ["LEARNING_RATE", "0.5", "0.05"] in rows
    assert ["NUM_ROUNDS", "4", "3"] in rows
    assert ["accuracy", "0.4", "0.6"] in rows
    assert not any(row[0] == "MOMENTUM" for row in rows)
    assert max(map(len, compared.splitlines())) <= 80
    assert "\x1b" not in compared


def test_addresses_and_folders_of_the_machine_are_no_differences() -> None:
    one = {"LISTEN_ADDRESS": "127.0.0.1:0", "CERTS_DIR": "here", "RUNS_DIR": "mine", "SEED": 1}
    other = {"LISTEN_ADDRESS": "127.0.0.1:1", "STATUS_ADDRESS": "127.0.0.1:2", "RUNS_DIR": "runs", "SEED": 2}
    assert list(list_changed(one)) == ["SEED"]
    assert list_differing([one, other]) == {"SEED": ["1", "2"]}


def test_the_best_round_of_runs_is_compared_too(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    federation = Federation(tmp_path)
    ids = [
        train(federation, 0.1, num_rounds=3, best_metric=BestMetric("loss", is_higher_better=True))
        for _ in "12"
    ]
    monkeypatch.setenv("RUNS_DIR", str(federation.runs_dir))
    rows = [columns_of(line) for line in run("compare", *ids).splitlines()]
    assert [row for row in rows if row[0] == "round"] == [["round", "3", "3"], ["round", "1", "1"]]
    assert [row for row in rows if row[0] == "accuracy"] == [
        ["accuracy", "0.3", "0.3"],
        ["accuracy", "0.1", "0.1"],
    ]


def test_values_that_are_too_long_for_columns_are_below_each_other(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    federation = Federation(tmp_path)
    options = ["a" * 60 + "=1", "a" * 60 + "=2"]
    ids = [train(federation, 0.1, task_options=option) for option in options]
    monkeypatch.setenv("RUNS_DIR", str(federation.runs_dir))
    compared = run("compare", *ids)
    for letter, option in zip("AB", options, strict=True):
        assert [letter, option] in [columns_of(line) for line in compared.splitlines()]
    assert max(map(len, compared.splitlines())) <= 80


def test_a_comparison_is_available_as_json(run: Run, runs: list[str]) -> None:
    found = json.loads(run("compare", runs[0], runs[1], "--json"))
    assert [document["run_id"] for document in found["runs"]] == runs[:2]
    assert found["settings"]["LEARNING_RATE"] == {runs[0]: "0.5", runs[1]: "0.05"}


def test_a_run_that_never_trained_can_be_compared(run: Run, runs: list[str]) -> None:
    assert ["A", runs[0], "first try", "finished"] in [
        columns_of(line)[:4] for line in run("compare", runs[0], "latest").splitlines()
    ]


def test_a_run_is_found_by_its_name_unless_several_have_it(
    run: Run, runs: list[str], federation: Federation, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert runs[0] in run("show", "first try")
    for name in ("20260101-000000-0001", "20260101-000000-0002"):
        shutil.copytree(federation.runs_dir / runs[0], tmp_path / name)
    monkeypatch.setenv("RUNS_DIR", str(tmp_path))
    with pytest.raises(DataError, match=r"^first try: matches 2 runs; expected one of "):
        run("show", "first try")


def test_the_beginning_of_an_id_and_the_path_of_a_folder_are_enough(
    run: Run, runs: list[str], federation: Federation
) -> None:
    unique = next(
        runs[0][:length]
        for length in range(1, len(runs[0]) + 1)
        if not any(other.startswith(runs[0][:length]) for other in runs[1:])
    )
    folder = str(federation.runs_dir / runs[0])
    for way in (unique, folder, f"{folder}/"):
        assert json.loads(run("show", way, "--json"))["run_id"] == runs[0]


def test_an_interrupted_run_is_not_shown_as_running(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    federation = Federation(tmp_path)
    other, name = train(federation, 0.1), train(federation, 0.1)
    path = federation.folder / "run.json"
    path.write_text(json.dumps(federation.facts | {"status": "running", "finished": None}))
    monkeypatch.setenv("RUNS_DIR", str(federation.runs_dir))
    assert json.loads(run("show", name, "--json"))["status"] == "interrupted"
    with run_state.open_lock(federation.runs_dir):
        assert json.loads(run("show", name, "--json"))["status"] == "running"
        with pytest.raises(FederationError, match="a server works on it"):
            run("remove", other, name, "--yes")
    assert {one["run_id"] for one in json.loads(run("--json"))} == {other, name}


def test_runs_are_removed_if_that_is_confirmed(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    federation = Federation(tmp_path)
    ids = [train(federation, 0.1) for _ in range(3)]
    monkeypatch.setenv("RUNS_DIR", str(federation.runs_dir))
    run("remove", ids[0], ids[2], "--yes")
    assert [one["run_id"] for one in json.loads(run("--json"))] == [ids[1]]
    assert federation.facts["run_id"] == ids[1]


@pytest.mark.parametrize(("answer", "code"), [("y", 0), ("", 2), ("no", 2)])
def test_a_terminal_is_asked(tmp_path: Path, answer: str, code: int) -> None:
    federation = Federation(tmp_path)
    name = train(federation, 0.1)
    terminal, end = pty.openpty()
    with os.fdopen(terminal, "wb", buffering=0) as keyboard:
        keyboard.write(f"{answer}\n".encode())
        done = subprocess.run(
            [sys.executable, "-m", "server", "runs", "remove", name],
            cwd=ROOT,
            env={**os.environ, "RUNS_DIR": str(federation.runs_dir)},
            stdin=end,
            capture_output=True,
            timeout=HANG_S,
            check=False,
        )
        os.close(end)
    assert done.returncode == code
    assert (federation.runs_dir / name).exists() == bool(code)


def test_the_commands_import_neither_flower_nor_numpy(runs: list[str], federation: Federation) -> None:
    program = f"""
import sys
from server.__main__ import main
for arguments in (["list"], ["show", "latest"], ["compare", *{runs[:2]!r}]):
    main(["runs", *arguments])
heavy = ("flwr", "numpy", "rich", "starlette")
print([name for name in heavy if name in sys.modules], file=sys.stderr)
"""
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=ROOT,
        env={**os.environ, "RUNS_DIR": str(federation.runs_dir)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stderr == "[]\n"


def test_a_reader_that_stops_early_is_no_error(federation: Federation, runs: list[str]) -> None:
    command = f"{sys.executable} -m server runs show {runs[0]} --json | head -c 1; echo ${{PIPESTATUS[0]}}"
    done = subprocess.run(
        ["bash", "-c", command],
        cwd=ROOT,
        env={**os.environ, "RUNS_DIR": str(federation.runs_dir)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert (done.stdout, done.stderr) == ("{0\n", "")


def test_a_number_has_four_digits_and_a_size_its_unit() -> None:
    assert [text.show_number(value) for value in (0.123456, 12345.678, 3, None)] == [
        "0.1235",
        "12346",
        "3",
        "-",
    ]
    assert [text.show_bytes(size) for size in (0, 999, 1_000, 1_234_567, 10**13)] == [
        "0 B",
        "999 B",
        "1.0 kB",
        "1.2 MB",
        "10.0 TB",
    ]
    assert [text.show_duration(seconds) for seconds in (None, 5, 65, 3_725, 90_000)] == [
        "-",
        "5s",
        "1m05s",
        "1h02m",
        "1d01h",
    ]


def test_a_curve_rises_from_the_lowest_mark_to_the_highest(monkeypatch: pytest.MonkeyPatch) -> None:
    assert text.draw([0.0, None, 0.5, 1.0], 80, 0.0, 1.0) == "▁ ▅█"
    assert text.draw(list(range(100)), 4, 0, 99) == "▂▄▅▇"
    assert text.draw([1.0, 1.0], 80, 1.0, 1.0) == "▅▅"
    monkeypatch.setattr("sys.stdout", io.TextIOWrapper(io.BytesIO(), encoding="ascii"))
    assert text.draw([0.0, 1.0], 80, 0.0, 1.0) == "_#"
