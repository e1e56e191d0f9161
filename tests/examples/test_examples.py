"""Scripts beside their tasks: a task is hardly longer than its script, and learns as well."""

from importlib import import_module
from pathlib import Path

import pytest
from _pytest.mark.structures import ParameterSet

from examples import compare
from examples.kinds import KINDS, QUICK
from examples.lines import count_lines
from examples.runs import are_bounded, run_federated
from tests.bounds import HANG_S


def test_there_are_fifteen_kinds_of_which_ten_are_quick() -> None:
    assert len(KINDS) == 15
    assert len(QUICK) == len(set(QUICK) & KINDS.keys()) == 10


@pytest.mark.parametrize("name", KINDS)
def test_a_task_is_at_most_1_3_times_as_long_as_its_script(name: str) -> None:
    plain, task = count_lines(name)
    assert task <= 1.3 * plain


@pytest.mark.parametrize("name", KINDS)
def test_a_federated_run_has_the_epochs_and_the_batches_of_its_script(name: str) -> None:
    script = import_module(f"examples.{name}.plain")
    settings = KINDS[name].settings
    assert int(settings["NUM_ROUNDS"]) * int(settings["LOCAL_EPOCHS"]) == script.EPOCHS
    assert settings["BATCH_SIZE"] == script.BATCH_SIZE


FIRST = ("regression",)
"""The quickest kind, of which a run is always tested."""


def mark(name: str) -> ParameterSet:
    return pytest.param(name, marks=[] if name in FIRST else [pytest.mark.slow])


@pytest.mark.parametrize("name", [mark(name) for name in QUICK])
def test_a_few_rounds_with_two_clients_beat_a_guess(name: str) -> None:
    kind = KINDS[name]
    numbers, _ = run_federated(name, 0, kind.quick, HANG_S)
    if kind.metric:
        assert kind.is_better(numbers[kind.metric], kind.trivial), numbers
    else:
        assert are_bounded(numbers), numbers


def make_outcome(name: str, plain: list[float], federated: list[float]) -> compare.Outcome:
    metric = KINDS[name].metric
    return compare.Outcome(
        name, [{metric: value} for value in plain], [{metric: value} for value in federated]
    )


@pytest.mark.parametrize(
    ("name", "plain", "federated", "holds"),
    [
        ("resnet", [0.8, 0.81, 0.8], [0.73, 0.2, 0.9], True),
        ("resnet", [0.8, 0.81, 0.8], [0.71, 0.2, 0.9], False),
        # Twice the spread is more than a tenth.
        ("resnet", [0.8, 0.85, 0.75], [0.61, 0.61, 0.61], True),
        ("vae", [40.0, 40.0, 40.0], [43.9, 43.9, 43.9], True),
        ("vae", [40.0, 40.0, 40.0], [44.1, 44.1, 44.1], False),
    ],
)
def test_a_task_may_be_worse_by_a_tenth_or_by_twice_the_spread(
    name: str, plain: list[float], federated: list[float], holds: bool
) -> None:
    assert make_outcome(name, plain, federated).holds is holds


def test_a_row_of_the_table_is_replaced_and_the_others_stay(tmp_path: Path) -> None:
    page = tmp_path / "examples.md"
    page.write_text("before\n<!-- table -->\n<!-- /table -->\nafter\n")
    for value in (0.5, 0.7):
        compare.write_table([make_outcome("resnet", [value] * 3, [value] * 3)], page)
        compare.write_table([make_outcome("vae", [40.0] * 3, [40.0] * 3)], page)
    rows = [line for line in page.read_text().splitlines() if "(../../examples/" in line]
    assert len(rows) == 2
    assert "| 0.700 |" in rows[0]
    assert page.read_text().startswith("before\n")
    assert page.read_text().endswith("after\n")


@pytest.mark.slow
@pytest.mark.timeout(3 * HANG_S)
@pytest.mark.parametrize("name", KINDS)
def test_two_clients_reach_the_bar_of_the_script(name: str, tmp_path: Path) -> None:
    outcome = compare.compare(name, tmp_path / "sample.png")
    assert outcome.holds, outcome
    if outcome.kind.metric:
        assert outcome.kind.is_better(outcome.medians[1], outcome.kind.trivial), outcome
