"""Hyperparameters on their way to the nodes."""

import dataclasses
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedmx.errors import SettingsError
from fedmx.hyperparameters import OPTIMIZERS, Hyperparameters
from fedmx.settings import ServerSettings, load

CONFIG = Hyperparameters().to_config()


def test_the_config_has_each_hyperparameter_once_by_its_name() -> None:
    assert [key.replace("-", "_") for key in CONFIG] == list(vars(Hyperparameters()))
    values = ["{}" if value == {} else value for value in vars(Hyperparameters()).values()]
    assert list(CONFIG.values()) == values


@given(st.integers(1, 2**63 - 1), st.floats(1e-30, 1e30), st.floats(0, 1, exclude_max=True))
def test_hyperparameters_survive_the_way_to_a_node(epochs: int, rate: float, momentum: float) -> None:
    momentum = momentum if momentum >= 1e-30 else 0.0
    sent = Hyperparameters(local_epochs=epochs, learning_rate=rate, momentum=momentum)
    assert Hyperparameters.from_config(sent.to_config()) == sent


objects = st.dictionaries(
    st.text(),
    st.recursive(st.none() | st.booleans() | st.integers() | st.text(), st.lists, max_leaves=5),
    max_size=5,
)


@given(st.sampled_from(OPTIMIZERS), objects, objects)
def test_json_objects_arrive_unchanged_at_a_node(
    optimizer: str, arguments: dict[str, object], options: dict[str, object]
) -> None:
    sent = Hyperparameters(optimizer=optimizer, optimizer_args=arguments, task_options=options)
    assert Hyperparameters.from_config(sent.to_config()) == sent


@pytest.mark.parametrize("value", [None, {}, b"{}", "", "[]", "{", '{"a": NaN}', '{"a": 1e999}', "null"])
def test_a_config_from_the_wire_holds_json_objects_of_finite_numbers(value: Any) -> None:
    with pytest.raises(SettingsError, match="expected") as caught:
        Hyperparameters.from_config({**CONFIG, "task-options": value})
    assert f"task-options={value!r}" in str(caught.value)


def test_an_optimizer_is_named_in_upper_or_lower_case() -> None:
    settings = load(ServerSettings, environ={"OPTIMIZER": "AdaM"})
    assert settings.hyperparameters.to_config()["optimizer"] == "adam"


@pytest.mark.parametrize(("wrong", "similar"), [("adan", "adam"), ("nadm", "nadam"), ("rmspro", "rmsprop")])
def test_a_wrong_optimizer_is_one_line_with_the_most_similar_ones(wrong: str, similar: str) -> None:
    with pytest.raises(SettingsError) as caught:
        load(ServerSettings, environ={"OPTIMIZER": wrong})
    [line] = caught.value.problems
    assert line.startswith(f"OPTIMIZER={wrong!r}: ")
    assert similar in line.partition("(similar: ")[2].partition(")")[0].split(", ")


def test_the_server_sends_its_settings() -> None:
    settings = ServerSettings(seed=7, batch_size=3, proximal_mu=0.5)
    assert settings.hyperparameters == Hyperparameters(batch_size=3, proximal_mu=0.5)
    assert settings.to_config() == settings.hyperparameters.to_config()


def test_other_entries_of_a_config_are_left_alone() -> None:
    assert Hyperparameters.from_config({**CONFIG, "server-round": 3}) == Hyperparameters()


def test_an_integer_is_accepted_for_a_number_and_becomes_one() -> None:
    rate = Hyperparameters.from_config({**CONFIG, "learning-rate": 1}).learning_rate
    assert (rate, type(rate)) == (1.0, float)


@pytest.mark.parametrize("value", [None, True, "2", b"3", 2.0, [2], 0, -1, 2**63])
def test_a_config_from_the_wire_holds_integers_within_their_bounds(value: Any) -> None:
    with pytest.raises(SettingsError) as caught:
        Hyperparameters.from_config({**CONFIG, "local-epochs": value})
    assert f"local-epochs={value!r}" in str(caught.value)
    assert "expected" in str(caught.value)


@pytest.mark.parametrize("value", [None, False, "0.5", float("nan"), float("inf"), -0.1, 1.0, 2])
def test_a_config_from_the_wire_holds_numbers_within_their_bounds(value: Any) -> None:
    with pytest.raises(SettingsError) as caught:
        Hyperparameters.from_config({**CONFIG, "momentum": value})
    assert f"momentum={value!r}" in str(caught.value)


@pytest.mark.parametrize("key", CONFIG)
def test_a_hyperparameter_that_is_missing_is_named(key: str) -> None:
    with pytest.raises(SettingsError, match=f"{key}=None: expected"):
        Hyperparameters.from_config({name: value for name, value in CONFIG.items() if name != key})


def test_every_hyperparameter_is_a_setting_of_the_server_that_shapes_the_model() -> None:
    for field in dataclasses.fields(Hyperparameters):
        assert field.metadata["shapes_model"]
        assert field.name in {other.name for other in dataclasses.fields(ServerSettings)}
