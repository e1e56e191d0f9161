"""A user's own strategy: what is refused before round 1, its warning, and its state."""

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from flwr.serverapp import strategy as flower

from fedmx.errors import SettingsError, TrainingFailedError
from fedmx.settings import ServerSettings
from server import strategies
from tests.server.nodes import NullNode, Table

MODULE = """\
import numpy as np
from flwr.serverapp.strategy import FedAvg

NUMBER = 3

class Counting(FedAvg):
    rounds = np.zeros(1)
    fails = False

    def aggregate_train(self, server_round, replies):
        self.rounds += 1
        if self.fails:
            raise KeyError("aggregation")
        return super().aggregate_train(server_round, replies)

    def state_dict(self):
        return {"rounds": self.rounds}

    def load_state_dict(self, state):
        self.rounds = np.array(state["rounds"])

class Odd(Counting):
    def state_dict(self):
        return {"odd": object()}

def make(**arguments):
    strategy = Counting(min_train_nodes=7, min_evaluate_nodes=7, min_available_nodes=7, **arguments)
    strategy.rounds = np.zeros(1)
    return strategy

def make_odd():
    return Odd()

def make_without_state():
    return FedAvg()

def make_nothing():
    return None

def divide():
    return 1 / 0
"""


@pytest.fixture(autouse=True)
def _modules(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "own_strategy.py").write_text(MODULE)
    (tmp_path / "broken_strategy.py").write_text("import no_such_library\n")
    monkeypatch.syspath_prepend(tmp_path)
    for name in ("own_strategy", "broken_strategy"):
        monkeypatch.delitem(sys.modules, name, raising=False)


def build(factory: str, **settings: Any) -> strategies.Plan:
    return strategies.build(ServerSettings(strategy=factory, **settings))


def find_problem(factory: str, **settings: Any) -> str:
    with pytest.raises(SettingsError) as caught:
        build(factory, **settings)
    assert caught.value.exit_code == 2
    [problem] = caught.value.problems
    assert "\n" not in problem
    return problem


@pytest.mark.parametrize(
    ("factory", "arguments", "parts"),
    [
        ("no_such_module:make", {}, ["importing no_such_module", "ModuleNotFoundError"]),
        ("broken_strategy:make", {}, ["no_such_library", "broken_strategy.py:1"]),
        ("own_strategy:absent", {}, ["absent"]),
        ("own_strategy:NUMBER", {}, ["NUMBER", "int"]),
        ("own_strategy:make_nothing", {}, ["NoneType"]),
        ("own_strategy:divide", {}, ["ZeroDivisionError", "own_strategy.py:"]),
        ("own_strategy:make", {"unknown": 1}, ["TypeError", "unknown"]),
        ("own_strategy:", {}, []),
        (":make", {}, []),
        ("own_strategy:make:make", {}, []),
        ("own strategy:make", {}, []),
    ],
)
def test_a_factory_that_does_not_work_is_refused_by_name(
    factory: str, arguments: Mapping[str, object], parts: list[str]
) -> None:
    problem = find_problem(factory, strategy_args=arguments)
    assert [part for part in [f"STRATEGY={factory}", *parts] if part not in problem.replace("'", "")] == []


@pytest.mark.parametrize("mode", ["dp-fixed", "dp-adaptive"])
def test_differential_privacy_is_refused(mode: str) -> None:
    problem = find_problem("own_strategy:make", dp_mode=mode)
    assert f"DP_MODE={mode}" in problem
    assert "own_strategy:make" in problem


def test_arguments_reach_the_factory_and_minimums_of_nodes_become_1() -> None:
    strategy = build("own_strategy:make", strategy_args={"fraction_evaluate": 0.5}).strategy
    assert isinstance(strategy, flower.FedAvg)
    assert strategy.fraction_evaluate == 0.5
    minimums = (strategy.min_train_nodes, strategy.min_evaluate_nodes, strategy.min_available_nodes)
    assert minimums == (1, 1, 1)


@pytest.mark.parametrize(
    ("factory", "resume", "warnings"),
    [
        ("make_without_state", "auto", 1),
        ("make_without_state", "never", 0),
        ("make", "auto", 0),
    ],
)
def test_a_strategy_without_state_is_a_warning_where_a_run_may_resume(
    factory: str, resume: str, warnings: int, caplog: pytest.LogCaptureFixture
) -> None:
    build(f"own_strategy:{factory}", resume=resume)
    assert [record.levelname for record in caplog.records] == ["WARNING"] * warnings
    assert caplog.text.count(f"own_strategy:{factory}") == warnings


def make_table() -> Table:
    return Table([NullNode(), NullNode()], strategy="own_strategy:make")


def test_the_state_of_one_run_is_restored_into_another() -> None:
    table = make_table()
    table.train_round(1)
    table.train_round(2)
    resumed = make_table()
    resumed.plan.restore(table.plan.state())
    assert resumed.plan.state()["rounds"].tolist() == [2.0]


def test_a_failed_aggregation_leaves_the_state_as_it_was_even_if_it_wrote_into_its_arrays() -> None:
    table = make_table()
    table.train_round(1)
    table.strategy.fails = True
    with pytest.raises(KeyError), table.plan.undone_on_failure():
        table.strategy.aggregate_train(2, [])
    assert table.plan.state()["rounds"].tolist() == [1.0]


def test_a_state_that_no_checkpoint_can_hold_is_named() -> None:
    with pytest.raises(TrainingFailedError, match="odd"):
        build("own_strategy:make_odd").state()
