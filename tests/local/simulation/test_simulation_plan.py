"""What `make simulate` starts, and the settings that it rejects before Ray is started."""

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from fedmx.cgroups import count_cores
from local.simulation.plan import make_plan

ROOT = Path(__file__).parents[3]


def find_problems(environ: Mapping[str, str]) -> list[str]:
    # Ray is not installed beside the tests.
    return [problem for problem in make_plan(environ).problems if not problem.startswith("Ray ")]


@pytest.mark.parametrize(
    ("environ", "setting"),
    [
        ({"NODES": "many"}, "NODES"),
        ({"NODES": "0"}, "NODES"),
        ({"FRACTION": "0"}, "FRACTION"),
        ({"FRACTION": "1.5"}, "FRACTION"),
        ({"FRACTION": "0.5", "STRATEGY_ARGS": '{"fraction_train": 0.1}'}, "FRACTION"),
        ({"SIMULATION_CPUS": "0"}, "SIMULATION_CPUS"),
        ({"SIMULATION_CPUS": "1.5"}, "SIMULATION_CPUS"),
        ({"SIMULATION_CPUS": str(count_cores() + 1)}, "SIMULATION_CPUS"),
        ({"SIMULATION_GPUS": "-1"}, "SIMULATION_GPUS"),
        ({"RAY_ADDRESS": "ray://host"}, "RAY_ADDRESS"),
        ({"PARTITION": "none"}, "PARTITION"),
        ({"DATA_DIR": "data/{n}"}, "DATA_DIR"),
        ({"CLIENTS": "4"}, "CLIENTS"),
        ({"MIN_CLIENTS": "11"}, "MIN_CLIENTS"),
        ({"NUM_PARTITIONS": "11"}, "NUM_PARTITIONS"),
        ({"CLIENT_THREADS": "2"}, "CLIENT_THREADS"),
        ({"DEVICE": "gpu"}, "DEVICE"),
    ],
)
def test_an_invalid_setting_is_one_problem(environ: Mapping[str, str], setting: str) -> None:
    (problem,) = find_problems(environ)
    assert problem.startswith(f"{setting}=")


def test_all_nodes_have_a_partition_and_wait_for_workers_without_limit() -> None:
    assert find_problems({"NODES": "7"}) == []
    server = make_plan({"NODES": "7", "ROUNDS": "5"}).server
    names = ("MIN_CLIENTS", "NUM_PARTITIONS", "ROUND_TIMEOUT", "JOIN_WINDOW", "NUM_ROUNDS")
    assert {name: server[name] for name in names} == {
        "MIN_CLIENTS": "7",
        "NUM_PARTITIONS": "7",
        "ROUND_TIMEOUT": "0",
        "JOIN_WINDOW": "0",
        "NUM_ROUNDS": "5",
    }
    assert make_plan({"ROUND_TIMEOUT": "60"}).server["ROUND_TIMEOUT"] == "60"


def test_fraction_is_an_argument_of_the_strategy_beside_the_others() -> None:
    plan = make_plan({"FRACTION": "0.1", "STRATEGY_ARGS": '{"fraction_evaluate": 0.5}'})
    assert json.loads(plan.server["STRATEGY_ARGS"]) == {"fraction_evaluate": 0.5, "fraction_train": 0.1}
    assert "STRATEGY_ARGS" not in make_plan({}).server


def test_ray_on_this_machine_asks_for_a_token_that_is_another_each_time() -> None:
    tokens = {make_plan({}).server["RAY_AUTH_TOKEN"] for _ in range(2)}
    assert len(tokens) == 2
    assert "RAY_AUTH_TOKEN" not in make_plan({"RAY_ADDRESS": "127.0.0.1:6379"}).server


def run(environ: Mapping[str, str]) -> tuple[int, list[str]]:
    done = subprocess.run(
        [sys.executable, "-m", "local.simulation"],
        cwd=ROOT,
        env={"PATH": os.defpath, **environ},
        capture_output=True,
        text=True,
        check=False,
    )
    return done.returncode, (done.stdout + done.stderr).splitlines()


def test_without_ray_one_line_names_the_command_that_installs_it() -> None:
    code, (line,) = run({})
    assert code == 2
    assert "make simulate" in line


def test_another_version_of_ray_is_rejected_with_both_versions(tmp_path: Path) -> None:
    (tmp_path / "ray").mkdir()
    (tmp_path / "ray" / "__init__.py").touch()
    folder = tmp_path / "ray-1.2.3.dist-info"
    folder.mkdir()
    (folder / "METADATA").write_text("Metadata-Version: 2.1\nName: ray\nVersion: 1.2.3\n")
    code, (line,) = run({"PYTHONPATH": str(tmp_path)})
    assert code == 2
    assert "Ray 1.2.3" in line
    assert "Ray 2.55.1" in line
