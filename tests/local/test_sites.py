"""Clients that have a folder each: what DATA_DIR's placeholders stand for, and what is rejected."""

from pathlib import Path

import pytest

from fedmx.errors import SettingsError
from fedmx.settings import ClientSettings, load
from local.plan import Plan, make_plan
from local.sites import find_sites


def make_folders(parent: Path, *names: str) -> Path:
    for name in names:
        (parent / name).mkdir(parents=True)
    return parent


def plan(data_dir: object, **settings: str) -> Plan:
    return make_plan({"DATA_DIR": str(data_dir), **settings})


def folders_of(plan: Plan) -> dict[str, str]:
    assert plan.problems == []
    assert all(environment["NODE_NAME"] == name for name, environment in plan.clients.items())
    return {name: environment["DATA_DIR"] for name, environment in plan.clients.items()}


def problem_of(plan: Plan) -> str:
    (problem,) = plan.problems
    assert "\n" not in problem
    return problem


def test_n_is_the_number_of_the_client_and_each_client_has_the_name_of_its_folder(tmp_path: Path) -> None:
    make_folders(tmp_path, "hospital-1/train", "hospital-2/train", "hospital-3/train")
    made = plan(tmp_path / "hospital-{n}" / "train", CLIENTS="3")
    assert folders_of(made) == {f"hospital-{n}": f"{tmp_path}/hospital-{n}/train" for n in (1, 2, 3)}


def test_site_is_each_subfolder_in_order_without_hidden_ones_and_files(tmp_path: Path) -> None:
    make_folders(tmp_path, "west", ".git", "east", "north")
    (tmp_path / "README").touch()
    made = plan(tmp_path / "{site}")
    assert list(folders_of(made).items()) == [
        (name, f"{tmp_path}/{name}") for name in ("east", "north", "west")
    ]
    assert made.server["MIN_CLIENTS"] == "3"


def test_site_with_text_around_it_is_each_subfolder_of_such_a_name(tmp_path: Path) -> None:
    make_folders(tmp_path, "site-a.d/csv", "site-b.d/csv", "old-c.d/csv", "site-.d")
    made = plan(tmp_path / "site-{site}.d" / "csv")
    assert folders_of(made) == {f"site-{x}.d": f"{tmp_path}/site-{x}.d/csv" for x in "ab"}


def test_clients_with_a_folder_each_are_not_partitioned_and_all_awaited(tmp_path: Path) -> None:
    make_folders(tmp_path, "1", "2", "3")
    made = plan(tmp_path / "{n}", CLIENTS="3")
    assert made.server["PARTITION"] == "none"
    assert made.server["MIN_CLIENTS"] == "3"
    assert "NUM_PARTITIONS" not in made.server
    assert folders_of(
        plan(tmp_path / "{n}", CLIENTS="3", PARTITION="none", MIN_CLIENTS="2", NUM_PARTITIONS="3")
    )


def test_a_relative_folder_is_one_in_the_folder_of_the_project(tmp_path: Path) -> None:
    make_folders(tmp_path, "data/1", "data/2")
    assert find_sites("data/{n}", None, tmp_path) == {str(n): tmp_path / "data" / str(n) for n in (1, 2)}
    assert list(find_sites("data/{site}", 2, tmp_path)) == ["1", "2"]


def test_a_folder_without_a_placeholder_is_passed_on_as_it_is() -> None:
    made = plan("data/mnist", CLIENTS="1")
    assert made.clients["client-1"]["DATA_DIR"] == "data/mnist"
    assert "PARTITION" not in made.server


def test_a_client_has_a_name_that_log_lines_can_contain(tmp_path: Path) -> None:
    make_folders(tmp_path, "Hôpital Nord (2)")
    assert folders_of(plan(tmp_path / "{site}")) == {"Hopital-Nord-2": f"{tmp_path}/Hôpital Nord (2)"}


def test_a_folder_with_a_line_break_in_its_name_is_a_site_too(tmp_path: Path) -> None:
    make_folders(tmp_path, "east\nwing", "north")
    assert list(folders_of(plan(tmp_path / "{site}"))) == ["east-wing", "north"]


@pytest.mark.parametrize(
    ("names", "found"),
    [
        (["server"], "'server'"),
        (["日本"], "'日本'"),
        (["a{n}"], "'a{n}'"),
        (["a" * 65], "a" * 65),
        (["a b", "a-b"], "'a b' and 'a-b'"),
    ],
)
def test_a_folder_that_cannot_name_a_client_is_rejected(tmp_path: Path, names: list[str], found: str) -> None:
    make_folders(tmp_path, *names)
    problem = problem_of(plan(tmp_path / "{site}"))
    assert problem.startswith(f"DATA_DIR={tmp_path}/{{site}}: folder")
    assert found in problem
    assert "rename" in problem


@pytest.mark.parametrize(
    ("data_dir", "found"),
    [
        ("nowhere/{site}", "nowhere cannot be read (No such file or directory)"),
        ("file/{site}", "file cannot be read (Not a directory)"),
        ("empty/{site}", "no subfolder in "),
        ("sites/ward-{site}", "no subfolder named ward-{site} in "),
        ("sites/{site}/csv", "sites/2/csv not found"),
        ("sites/{n}", "sites/3 not found"),
        ("nowhere/{n}", "nowhere/1, "),
        ("files/{n}", "files/2, "),
        ("sites/{x}", "unknown placeholder {x}; expected {n} "),
        ("sites/{}", "unknown placeholder {}"),
        ("{site}/{n}", "2 placeholders"),
        ("{n}/{n}", "2 placeholders"),
    ],
)
def test_a_data_dir_that_is_no_folder_for_each_client_is_one_line(
    tmp_path: Path, data_dir: str, found: str
) -> None:
    make_folders(tmp_path, "empty", "sites/1/csv", "sites/2", "files/1")
    for name in ("file", "files/2", "files/3"):
        (tmp_path / name).touch()
    clients = {} if "{site}" in data_dir else {"CLIENTS": "3"}
    problem = problem_of(plan(tmp_path / data_dir, **clients))
    assert problem.startswith(f"DATA_DIR={tmp_path / data_dir}: ")
    assert found in problem
    assert "expected" in problem


def test_another_number_of_clients_than_of_subfolders_is_rejected_with_what_was_found(tmp_path: Path) -> None:
    make_folders(tmp_path, "a", "b", "c")
    problem = problem_of(plan(tmp_path / "{site}", CLIENTS="2"))
    assert problem.startswith("CLIENTS=2: ")
    assert "3 subfolders (a, b, c)" in problem
    assert "CLIENTS=3" in problem
    assert len(folders_of(plan(tmp_path / "{site}", CLIENTS="3"))) == 3


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("PARTITION", "iid"),
        ("PARTITION", "labels:5"),
        ("NODE_NAME", "alice"),
        ("NUM_PARTITIONS", "2"),
        ("NUM_PARTITIONS", "4"),
        ("MIN_CLIENTS", "4"),
        ("CLIENTS", "none"),
    ],
)
def test_a_setting_that_contradicts_a_folder_for_each_client_is_one_line(
    tmp_path: Path, name: str, value: str
) -> None:
    make_folders(tmp_path, "a", "b", "c")
    assert problem_of(plan(tmp_path / "{site}", **{name: value})).startswith(f"{name}=")


@pytest.mark.parametrize("placeholder", ["{n}", "{site}", "{x}"])
def test_a_client_alone_rejects_a_placeholder_and_names_where_it_works(placeholder: str) -> None:
    with pytest.raises(SettingsError) as caught:
        load(ClientSettings, environ={"DATA_DIR": f"/data/{placeholder}"})
    (problem,) = caught.value.problems
    assert problem.startswith(f"DATA_DIR='/data/{placeholder}': ")
    assert "make run" in problem
