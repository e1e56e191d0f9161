"""From a name and arguments to a strategy, or to the reason why not; nothing is run here."""

from collections.abc import Mapping
from typing import Any

import pytest
from flwr.serverapp import strategy as flower

from fedmx.errors import SettingsError
from fedmx.settings import ServerSettings, load
from server import strategies
from server.strategies import Plan

KINDS: dict[str, type] = {
    "fedavg": flower.FedAvg,
    "fedavgm": flower.FedAvgM,
    "fedprox": flower.FedProx,
    "fedadagrad": flower.FedAdagrad,
    "fedadam": flower.FedAdam,
    "fedyogi": flower.FedYogi,
    "fedmedian": flower.FedMedian,
    "fedtrimmedavg": flower.FedTrimmedAvg,
    "krum": flower.Krum,
    "multikrum": flower.MultiKrum,
    "bulyan": flower.Bulyan,
    "qfedavg": flower.QFedAvg,
}
FRACTIONS = "fraction_train, fraction_evaluate"
ACCEPTED = {
    "fedavg": FRACTIONS,
    "fedavgm": f"{FRACTIONS}, server_learning_rate, server_momentum",
    "fedprox": FRACTIONS,
    "fedadagrad": f"{FRACTIONS}, eta, tau",
    "fedadam": f"{FRACTIONS}, eta, beta_1, beta_2, tau",
    "fedyogi": f"{FRACTIONS}, eta, beta_1, beta_2, tau",
    "fedmedian": FRACTIONS,
    "fedtrimmedavg": f"{FRACTIONS}, beta",
    "krum": f"{FRACTIONS}, num_malicious_nodes",
    "multikrum": f"{FRACTIONS}, num_malicious_nodes, num_nodes_to_select",
    "bulyan": f"{FRACTIONS}, num_malicious_nodes",
    "qfedavg": f"q, {FRACTIONS}",
}


def build(name: str, arguments: Mapping[str, object] | None = None, **settings: Any) -> Plan:
    given = {"min_clients": 10, "strategy": name, "strategy_args": arguments or {}}
    return strategies.build(ServerSettings(**{**given, **settings}))


def build_strategy(name: str, arguments: Mapping[str, object] | None = None, **settings: Any) -> Any:
    return build(name, arguments, **settings).strategy


def problems(name: str, arguments: Mapping[str, object] | None = None, **settings: Any) -> list[str]:
    with pytest.raises(SettingsError) as caught:
        build(name, arguments, **settings)
    assert caught.value.exit_code == 2
    return caught.value.problems


def test_twelve_strategies_are_offered() -> None:
    assert list(KINDS) == list(strategies.NAMES)


@pytest.mark.parametrize("name", KINDS)
def test_every_strategy_is_flowers_and_never_waits_for_nodes_itself(name: str) -> None:
    strategy = build_strategy(name)
    minimums = (strategy.min_train_nodes, strategy.min_evaluate_nodes, strategy.min_available_nodes)
    assert (isinstance(strategy, KINDS[name]), minimums) == (True, (1, 1, 1))


@pytest.mark.parametrize("name", KINDS)
def test_an_unknown_argument_lists_the_known_ones(name: str) -> None:
    assert problems(name, {"lr": 1}) == [f"STRATEGY_ARGS: 'lr' is unknown; expected {ACCEPTED[name]}"]


@pytest.mark.parametrize(
    "argument", ["min_train_nodes", "weighted_by_key", "arrayrecord_key", "train_metrics_aggr_fn", "self"]
)
def test_what_fedmx_decides_itself_is_no_argument(argument: str) -> None:
    assert "is unknown" in problems("fedavg", {argument: 1})[0]


@pytest.mark.parametrize(
    ("name", "argument"),
    [
        ("fedprox", "proximal_mu"),
        ("fedadam", "eta_l"),
        ("qfedavg", "client_learning_rate"),
        ("qfedavg", "train_loss_key"),
    ],
)
def test_what_other_settings_say_is_no_argument(name: str, argument: str) -> None:
    assert "is unknown" in problems(name, {argument: 0.1})[0]


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("fedavg", {"fraction_train": 0.5, "fraction_evaluate": 0}),
        ("fedavgm", {"server_learning_rate": 0.5, "server_momentum": 0.9}),
        ("fedadagrad", {"eta": 1, "tau": 0.01}),
        ("fedadam", {"eta": 0.1, "beta_1": 0.8, "beta_2": 0.9, "tau": 1e-3}),
        ("fedyogi", {"eta": 0.1, "beta_1": 0, "beta_2": 0.9, "tau": 1e-3}),
        ("fedtrimmedavg", {"beta": 0.4}),
        ("krum", {"num_malicious_nodes": 2}),
        ("multikrum", {"num_malicious_nodes": 2, "num_nodes_to_select": 3}),
        ("bulyan", {"num_malicious_nodes": 1}),
        ("qfedavg", {"q": 0.2}),
    ],
)
def test_arguments_reach_the_strategy(name: str, arguments: Mapping[str, object]) -> None:
    strategy = build_strategy(name, arguments)
    assert {argument: getattr(strategy, argument) for argument in arguments} == arguments


def test_an_unknown_strategy_lists_the_known_ones() -> None:
    assert problems("fedsgd") == [
        (
            "STRATEGY='fedsgd': expected one of fedavg, fedavgm, fedprox, fedadagrad, fedadam, fedyogi,"
            " fedmedian, fedtrimmedavg, krum, multikrum, bulyan, qfedavg, or package.module:factory for a"
            " strategy of your own"
        )
    ]


@pytest.mark.parametrize(
    ("name", "arguments", "words"),
    [
        ("fedadam", {"eta": "0.1"}, "eta='0.1': expected a number from 1e-30 to 1e30"),
        ("fedadam", {"eta": True}, "eta=True: expected a number from 1e-30 to 1e30"),
        ("fedadam", {"eta": None}, "eta=None: expected a number from 1e-30 to 1e30"),
        ("fedadam", {"eta": [0.1]}, "eta=[0.1]: expected a number from 1e-30 to 1e30"),
        ("fedadam", {"eta": float("nan")}, "eta=nan: expected a number from 1e-30 to 1e30"),
        ("fedadam", {"eta": float("inf")}, "eta=inf: expected a number from 1e-30 to 1e30"),
        ("fedadam", {"eta": 10**400}, f"eta={10**400}: expected a number from 1e-30 to 1e30"),
        ("fedadam", {"eta": 0}, "eta=0: expected a number from 1e-30 to 1e30"),
        ("fedadam", {"tau": 0}, "tau=0: expected a number from 1e-30 to 1e30"),
        ("fedadam", {"beta_1": 1}, "beta_1=1: expected a number of at least 0 and below 1"),
        ("fedyogi", {"beta_2": -0.1}, "beta_2=-0.1: expected a number of at least 0 and below 1"),
        (
            "fedavgm",
            {"server_momentum": 1.0},
            "server_momentum=1.0: expected a number of at least 0 and below 1",
        ),
        (
            "fedavgm",
            {"server_learning_rate": 0},
            "server_learning_rate=0: expected a number from 1e-30 to 1e30",
        ),
        ("fedtrimmedavg", {"beta": 0.5}, "beta=0.5: expected a number of at least 0 and below 0.5"),
        ("krum", {"num_malicious_nodes": 1.0}, "num_malicious_nodes=1.0: expected an integer of at least 0"),
        ("krum", {"num_malicious_nodes": -1}, "num_malicious_nodes=-1: expected an integer of at least 0"),
        ("multikrum", {"num_nodes_to_select": 0}, "num_nodes_to_select=0: expected an integer of at least 1"),
        ("qfedavg", {"q": -1}, "q=-1: expected a number from 0 to 100"),
        ("fedavg", {"fraction_train": 0}, "fraction_train=0: expected a number above 0 and at most 1"),
        ("fedavg", {"fraction_train": 1.01}, "fraction_train=1.01: expected a number above 0 and at most 1"),
        ("fedavg", {"fraction_evaluate": -1}, "fraction_evaluate=-1: expected a number from 0 to 1"),
    ],
)
def test_a_wrong_argument_is_told_with_what_was_expected(
    name: str, arguments: Mapping[str, object], words: str
) -> None:
    assert problems(name, arguments) == [f"STRATEGY_ARGS: {words}"]


def test_all_wrong_arguments_are_told_at_once() -> None:
    assert problems("fedadam", {"eta": 0, "beta": 1, "tau": "x"}) == [
        "STRATEGY_ARGS: eta=0: expected a number from 1e-30 to 1e30",
        f"STRATEGY_ARGS: 'beta' is unknown; expected {ACCEPTED['fedadam']}",
        "STRATEGY_ARGS: tau='x': expected a number from 1e-30 to 1e30",
    ]


KRUM = "its guarantee needs 2 * num_malicious_nodes + 3 updates"
TRIMMED = "with fewer than 1 / beta it trims nothing"


@pytest.mark.parametrize(
    ("name", "arguments", "least", "why"),
    [
        ("krum", {}, 3, KRUM),
        ("krum", {"num_malicious_nodes": 2}, 7, KRUM),
        ("multikrum", {"num_malicious_nodes": 1}, 5, KRUM),
        ("bulyan", {}, 3, "it needs 4 * num_malicious_nodes + 3 updates"),
        ("bulyan", {"num_malicious_nodes": 1}, 7, "it needs 4 * num_malicious_nodes + 3 updates"),
        ("fedmedian", {}, 3, "the median of two updates is their mean"),
        ("fedtrimmedavg", {}, 5, TRIMMED),
        ("fedtrimmedavg", {"beta": 0.3}, 4, TRIMMED),
        ("fedtrimmedavg", {"beta": 0.25}, 4, TRIMMED),
        ("fedtrimmedavg", {"beta": 5e-324}, 2**53, TRIMMED),
    ],
)
def test_a_strategy_is_refused_below_its_least_number_of_nodes(
    name: str, arguments: Mapping[str, object], least: int, why: str
) -> None:
    few, enough = {"num_partitions": least - 1}, {"num_partitions": least}
    assert problems(name, arguments, **few) == [
        f"NUM_PARTITIONS={least - 1}: STRATEGY={name} needs at least {least} nodes per round: {why}"
    ]
    assert build(name, arguments, **enough).least_nodes == least


def test_a_trimmed_average_that_trims_nothing_on_purpose_takes_any_number_of_nodes() -> None:
    assert build("fedtrimmedavg", {"beta": 0}, min_clients=1).least_nodes == 1


def test_the_least_number_is_of_nodes_that_train_in_a_round() -> None:
    arguments = {"fraction_train": 0.5}
    assert problems("krum", arguments, num_partitions=5) == [
        (
            "NUM_PARTITIONS=5, of which 2 train in a round (fraction_train=0.5): STRATEGY=krum needs at least"
            f" 3 nodes per round: {KRUM}"
        )
    ]
    assert build("krum", arguments, num_partitions=6).least_nodes == 3


def test_without_a_number_of_partitions_the_least_that_a_run_starts_with_counts() -> None:
    assert problems("krum", min_clients=2) == [
        f"MIN_CLIENTS=2: STRATEGY=krum needs at least 3 nodes per round: {KRUM}"
    ]


@pytest.mark.parametrize("name", ["fedadagrad", "fedadam", "fedyogi"])
def test_the_learning_rate_reaches_adaptive_strategies(name: str) -> None:
    assert build_strategy(name, learning_rate=0.25).eta_l == 0.25


def test_learning_rate_and_loss_reach_qfedavg() -> None:
    strategy = build_strategy("qfedavg", learning_rate=0.25)
    assert (strategy.client_learning_rate, strategy.train_loss_key) == (0.25, "loss")


def test_the_proximal_weight_reaches_fedprox() -> None:
    assert build_strategy("fedprox", proximal_mu=0.5).proximal_mu == 0.5


def load_problems(**environ: str) -> list[str]:
    with pytest.raises(SettingsError) as caught:
        load(ServerSettings, strategies.find_problems, environ=environ)
    return caught.value.problems


def test_more_clients_than_partitions_are_never_waited_for() -> None:
    assert load_problems(MIN_CLIENTS="3", NUM_PARTITIONS="2") == [
        "MIN_CLIENTS=3: more than NUM_PARTITIONS=2 nodes are never waited for; expected at most that many"
    ]


def test_more_updates_than_a_round_may_have_are_refused() -> None:
    assert load_problems(MIN_UPDATES="3") == [
        "MIN_UPDATES=3: with MIN_CLIENTS=2 a round may have 2 updates; expected at most that many"
    ]
    half = '{"fraction_train": 0.5}'
    assert load_problems(MIN_UPDATES="3", NUM_PARTITIONS="4", STRATEGY_ARGS=half) == [
        (
            "MIN_UPDATES=3: with NUM_PARTITIONS=4, of which 2 train in a round (fraction_train=0.5) a round"
            " may have 2 updates; expected at most that many"
        )
    ]


def test_settings_and_strategy_are_complained_about_together() -> None:
    assert load_problems(NUM_ROUNDS="0", STRATEGY="krum", NUM_PARTITIONS="2") == [
        "NUM_ROUNDS='0': expected an integer of at least 1",
        f"NUM_PARTITIONS=2: STRATEGY=krum needs at least 3 nodes per round: {KRUM}",
    ]
