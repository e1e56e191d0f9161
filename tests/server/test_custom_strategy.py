"""A user's own strategy: what is refused before round 1, its warning, and its state."""

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from flwr.serverapp import strategy as flower

from fedmx import arrays
from fedmx.errors import SettingsError, TrainingFailedError
from fedmx.settings import ServerSettings
from server import strategies
from tests.server.local_grid import Table
from tests.server.nodes import NullNode, shift

MODULE = """\
import sys
import numpy as np
from flwr.app import ArrayRecord, Message, RecordDict
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

STATES = {
    "object": {"odd": object()},
    "ragged": {"odd": [[1], [1, 2]]},
    "longdouble": {"odd": np.longdouble(1)},
    "complex": {"odd": np.complex64(1)},
    "date": {"odd": np.zeros(2, "M8[s]")},
    "list": ["odd"],
    "nothing": None,
    "number": {3: 1.0},
    "surrogate": {"odd\\ud800": 1.0},
    "null": {"a\\0b": 1.0},
    "long": {"odd" * 100: 1.0},
    "empty": {"": 1.0},
}

class Odd(Counting):
    def __init__(self, state):
        super().__init__()
        self.state = state

    def state_dict(self):
        return STATES[self.state] if self.state in STATES else 1 / 0

class Asking(FedAvg):
    def __init__(self, how):
        super().__init__(min_train_nodes=1, min_available_nodes=1)
        self.how = how

    def configure_train(self, server_round, arrays, config, grid):
        node, = grid.get_node_ids()
        def ask(node=node, records={"config": config}):
            return Message(RecordDict({"arrays": arrays, **records}), node, "train")
        return {
            "nothing": lambda: None,
            "numbers": lambda: [1],
            "no config": lambda: [ask(records={})],
            "another node": lambda: [ask(12345)],
            "twice": lambda: [ask(), ask()],
            "the grid": lambda: grid.send_and_receive([]),
            "an exit": lambda: sys.exit(),
            "a generator": lambda: (ask() for _ in range(1)),
        }[self.how]()

class Returning(FedAvg):
    def __init__(self, what):
        super().__init__()
        self.what = what

    def aggregate_train(self, server_round, replies):
        arrays, metrics = super().aggregate_train(server_round, replies)
        return {
            "nothing": None,
            "no arrays": (None, metrics),
            "a numpy array": (np.zeros(3), metrics),
            "numpy arrays": ({name: array.numpy() for name, array in arrays.items()}, metrics),
            "an empty record": (ArrayRecord(), metrics),
        }[self.what]

class MeanBased(FedAvg):
    mean_based = True
    seen = []

    def aggregate_train(self, server_round, replies):
        replies = list(replies)
        self.seen.append([dict(reply.content["metrics"]) for reply in replies])
        return super().aggregate_train(server_round, replies)

def make_mean_based():
    return MeanBased()

def make(**arguments):
    strategy = Counting(min_train_nodes=7, min_evaluate_nodes=7, min_available_nodes=7, **arguments)
    strategy.rounds = np.zeros(1)
    return strategy

def make_odd(**arguments):
    return Odd(**arguments)

def make_asking(**arguments):
    return Asking(**arguments)

def make_returning(**arguments):
    return Returning(**arguments)

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


@pytest.mark.parametrize("state", ["object", "ragged", "longdouble", "complex", "date"])
def test_a_state_that_no_checkpoint_can_hold_is_named(state: str) -> None:
    with pytest.raises(TrainingFailedError, match=r"state_dict\(\)\['odd'\]"):
        build("own_strategy:make_odd", strategy_args={"state": state}).state()


@pytest.mark.parametrize("state", ["list", "nothing", "number", "surrogate", "null", "long", "empty"])
def test_a_state_that_has_no_usable_names_is_refused(state: str) -> None:
    with pytest.raises(TrainingFailedError, match=r"state_dict\(\) of the strategy"):
        build("own_strategy:make_odd", strategy_args={"state": state}).state()


def test_an_error_in_state_dict_is_named_with_its_place() -> None:
    with pytest.raises(TrainingFailedError, match=r"state_dict\(\) of the strategy Odd raised ZeroDivision"):
        build("own_strategy:make_odd", strategy_args={"state": "none of these"}).state()


@pytest.mark.parametrize(
    ("how", "found"),
    [
        ("nothing", "NoneType"),
        ("numbers", "int"),
        ("no config", "0 configs"),
        ("another node", "node 12345"),
        ("twice", "two messages"),
        ("the grid", "raised"),
        ("an exit", "raised SystemExit"),
    ],
)
def test_what_configure_train_does_wrong_fails_the_run_in_one_line(how: str, found: str) -> None:
    table = Table([NullNode()], strategy="own_strategy:make_asking", strategy_args={"how": how})
    with pytest.raises(TrainingFailedError, match=rf"^configure_train\(\) of the strategy.*{found}"):
        table.train_round(1)


def test_configure_train_may_be_a_generator() -> None:
    node = NullNode()
    table = Table([node], strategy="own_strategy:make_asking", strategy_args={"how": "a generator"})
    table.train_round(1)
    assert len(node.asked_to("train")) == 1


@pytest.mark.parametrize("what", ["nothing", "no arrays", "a numpy array", "numpy arrays", "an empty record"])
def test_what_aggregate_train_returns_wrongly_fails_the_aggregation(what: str) -> None:
    table = Table([NullNode()], strategy="own_strategy:make_returning", strategy_args={"what": what})
    with pytest.raises(TrainingFailedError, match="the strategy Returning"):
        table.train_round(1)


def test_a_strategy_that_needs_only_the_mean_gets_it_as_one_reply_with_the_bits_of_fedavg() -> None:
    def make_nodes() -> list[NullNode]:
        return [
            NullNode(shift(0.1 * number, **{"num-examples": 3 * number, "loss": number / 2}))
            for number in (1, 2, 5)
        ]

    own, plain = Table(make_nodes(), strategy="own_strategy:make_mean_based"), Table(make_nodes())
    for table in (own, plain):
        table.train_round(1)
    assert arrays.sha256(own.model.arrays) == arrays.sha256(plain.model.arrays)
    # The losses 0.5, 1 and 2.5, weighted by 3, 6 and 15 examples.
    [[metrics]] = own.strategy.seen
    assert metrics == {"loss": 1.875, "accuracy": 0.75, "num-examples": 1}
