"""The generated hospitals, and when a comparison of their models holds."""

from pathlib import Path

import pytest

from client.data import read_csv
from examples.hospitals import compare
from examples.hospitals.__main__ import main
from examples.hospitals.data import COLUMNS, ROWS, SITES


def test_each_hospital_has_a_file_of_other_patients_that_is_the_same_every_time(tmp_path: Path) -> None:
    shares, ages = [], []
    for name in ("one", "two"):
        assert main([str(tmp_path / name)]) == 0
    for site in SITES:
        first, second = (tmp_path / name / site / "patients.csv" for name in ("one", "two"))
        assert first.read_bytes() == second.read_bytes()
        table = read_csv(first, label="readmitted", ignore=["patient_id"])
        assert len(table) == ROWS
        shares.append((table.columns["readmitted"] == "yes").mean())
        ages.append(table.columns["age"].mean())
    assert shares == pytest.approx([0.22, 0.39, 0.94], abs=0.02)
    assert ages == pytest.approx([11, 48, 79], abs=1)
    new = (tmp_path / "one" / "new_patients.csv").read_text().splitlines()
    assert new[0] == ",".join(COLUMNS[:-1])
    assert len(new) == 16


def test_without_a_folder_nothing_is_written() -> None:
    assert main([]) == 2


@pytest.mark.parametrize(
    ("together", "pooled", "alone", "holds"),
    [
        ([0.88, 0.90], [0.90, 0.90], [0.88, 0.88], True),
        ([0.88, 0.89], [0.90, 0.90], [0.80, 0.80], False),
        ([0.90, 0.90], [0.90, 0.90], [0.89, 0.91], False),
    ],
)
def test_the_federated_model_has_to_be_near_the_pooled_one_and_better_than_each_hospitals_own(
    together: list[float], pooled: list[float], alone: list[float], *, holds: bool
) -> None:
    found = {compare.TOGETHER: together, compare.POOLED: pooled}
    found |= {site: [0.5, 0.5] for site in SITES} | {"hospital-b": alone}
    assert compare.holds(found) is holds


def test_the_table_of_the_page_is_replaced(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("before\n<!-- table -->\nold\n<!-- /table -->\nafter\n")
    compare.write_table({"all": [0.5, 0.7], "one": [0.25, 0.25]}, page)
    assert page.read_text().splitlines() == [
        "before",
        "<!-- table -->",
        "| trained on | accuracy | lowest | highest |",
        "| --- | --- | --- | --- |",
        "| all | 0.600 | 0.500 | 0.700 |",
        "| one | 0.250 | 0.250 | 0.250 |",
        "<!-- /table -->",
        "after",
    ]
