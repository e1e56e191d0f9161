"""Settings: defaults, blanks, and every invalid value named at once."""

import json
import math
import os
from collections.abc import Iterable
from pathlib import Path

import pytest

from fedmx.deployment_settings import LocalSettings, PkiSettings
from fedmx.errors import SettingsError
from fedmx.fields import describe, describe_model
from fedmx.settings import ClientSettings, CommonSettings, ServerSettings, environment, load
from fedmx.values import Address, PartitionRule
from local.plan import make_plan
from tests.extremes import EXTREMES, list_accepted, list_numeric

ROOT = Path(__file__).parents[2]
# Containers have other defaults for these.
IN_CONTAINERS = {"STATUS_ADDRESS", "LISTEN_ADDRESS", "SERVER_ADDRESS", "RUNS_DIR"}

NAME = "expected at most 64 letters, digits, '.', '_' or '-', a letter or digit first"
SECONDS = "expected a number of at least 0 and at most 1e+09; 0 means no limit"


def problems_of(kind: type[CommonSettings], environ: dict[str, str]) -> list[str]:
    with pytest.raises(SettingsError) as caught:
        load(kind, environ=environ)
    return caught.value.problems


@pytest.mark.parametrize("kind", [ServerSettings, ClientSettings, PkiSettings])
def test_the_defaults_are_those_that_the_env_file_documents(kind: type[CommonSettings]) -> None:
    lines = (ROOT / ".env").read_text().splitlines()
    documented = dict(line.split("=", 1) for line in lines if line and not line.startswith("#"))
    names = describe(kind()).keys() - IN_CONTAINERS
    assert names - documented.keys() <= {"CERTS_DIR", "PKI_DIR"}
    given = {name: documented[name] for name in names & documented.keys()}
    assert load(kind, environ=given) == kind()


def test_the_launcher_starts_two_clients() -> None:
    assert load(LocalSettings, environ={}) == LocalSettings(clients=2)


@pytest.mark.parametrize(
    ("environ", "rounds"),
    [
        ({"ROUNDS": "5"}, 5),
        ({"ROUNDS": "5", "NUM_ROUNDS": "3"}, 5),
        ({"ROUNDS": " ", "NUM_ROUNDS": "7"}, 7),
        ({"ROUNDS": "5", "NUM_ROUNDS": "wrong"}, 5),
    ],
)
def test_an_alias_takes_precedence_over_the_name_of_a_setting(environ: dict[str, str], rounds: int) -> None:
    assert load(ServerSettings, environ=environ).num_rounds == rounds


def test_an_invalid_value_is_reported_under_the_name_that_set_it() -> None:
    with pytest.raises(SettingsError, match=r"^ROUNDS='0': "):
        load(ServerSettings, environ={"ROUNDS": "0", "NUM_ROUNDS": "3"})


@pytest.mark.parametrize("text", ["", " ", "\t\n"])
def test_a_blank_value_means_the_default(text: str) -> None:
    blank = dict.fromkeys(describe(ServerSettings()), text)
    assert load(ServerSettings, environ=blank) == ServerSettings()


def test_blanks_around_a_value_are_ignored() -> None:
    settings = load(
        ServerSettings, environ={"NUM_ROUNDS": " 7\n", "STRATEGY": "\tfedadam ", "PARTITION": " iid"}
    )
    assert (settings.num_rounds, settings.strategy, settings.partition) == (
        7,
        "fedadam",
        PartitionRule("iid"),
    )


def test_each_value_is_parsed_by_the_parser_of_its_setting() -> None:
    settings = load(
        ServerSettings,
        environ={
            "LOG_LEVEL": "debug",
            "MAX_MODEL_BYTES": "1000",
            "JOIN_WINDOW": "0",
            "STRATEGY_ARGS": '{"eta": 0.1, "tau": 1}',
            "DP_MODE": "DP-Fixed",
            "LEARNING_RATE": "1e-3",
            "PARTITION": "labels:5",
            "LISTEN_ADDRESS": "0.0.0.0:8081",
            "RUNS_DIR": "/srv/runs",
        },
    )
    assert settings == ServerSettings(
        log_level="DEBUG",
        max_model_bytes=1000,
        join_window=0.0,
        strategy_args={"eta": 0.1, "tau": 1},
        dp_mode="dp-fixed",
        learning_rate=0.001,
        partition=PartitionRule("labels", 5),
        listen_address=Address("0.0.0.0", 8081),  # noqa: S104 - a server may listen everywhere
        runs_dir=Path("/srv/runs"),
    )


def test_all_invalid_values_of_the_server_are_reported_at_once_one_line_each() -> None:
    wrong = {
        "NUM_ROUNDS": "0",
        "MIN_CLIENTS": "two",
        "JOIN_WINDOW": "-1",
        "ROUND_TIMEOUT": "-1",
        "STRATEGY": "fed avg",
        "STRATEGY_ARGS": "[1]",
        "DP_MODE": "on",
        "DP_DELTA": "1",
        "BATCH_SIZE": "abc",
        "LEARNING_RATE": "nan",
        "MOMENTUM": "1",
        "PARTITION": "random",
        "SEED": "1.5",
        "LISTEN_ADDRESS": "8080",
        "LOG_LEVEL": "loud",
        "LOG_FORMAT": "xml",
        "MAX_MODEL_BYTES": "4G",
        "LINK_SECURITY": "tls",
    }
    assert sorted(problems_of(ServerSettings, wrong)) == sorted(
        [
            "NUM_ROUNDS='0': expected an integer of at least 1",
            "MIN_CLIENTS='two': expected an integer of at least 1",
            "JOIN_WINDOW='-1': expected a number of at least 0 and at most 1e+09",
            f"ROUND_TIMEOUT='-1': {SECONDS}",
            "STRATEGY='fed avg': expected a text without blanks",
            "STRATEGY_ARGS='[1]': expected a JSON object such as {\"eta\": 0.1}",
            "DP_MODE='on': expected off, dp-fixed or dp-adaptive",
            "DP_DELTA='1': expected a number above 0 and below 1",
            "BATCH_SIZE='abc': expected an integer of at least 1",
            "LEARNING_RATE='nan': expected a number above 0",
            "MOMENTUM='1': expected a number of at least 0 and below 1",
            "PARTITION='random': expected iid, dirichlet:ALPHA, labels:K, shards:K or none",
            "SEED='1.5': expected an integer of at least 0",
            "LISTEN_ADDRESS='8080': expected host:port, or [address]:port for IPv6",
            "LOG_LEVEL='loud': expected DEBUG, INFO, WARNING or ERROR",
            "LOG_FORMAT='xml': expected text or json",
            "MAX_MODEL_BYTES='4G': expected an integer of at least 1",
            "LINK_SECURITY='tls': expected mtls or insecure",
        ]
    )


def test_all_invalid_values_of_a_client_are_reported_at_once_one_line_each() -> None:
    wrong = {
        "SERVER_ADDRESS": "server:99999",
        "SERVER_WAIT_TIMEOUT": "inf",
        "NODE_NAME": "-north/1",
        "TASK": "my task",
        "DEVICE": "tpu",
        "CLIENT_THREADS": "all",
        "LINK_PROXY": "proxy 3128",
    }
    assert sorted(problems_of(ClientSettings, wrong)) == sorted(
        [
            "SERVER_ADDRESS='server:99999': expected a port from 1 to 65535 after the last colon",
            f"SERVER_WAIT_TIMEOUT='inf': {SECONDS}",
            f"NODE_NAME='-north/1': {NAME}",
            "TASK='my task': expected a text without blanks",
            "DEVICE='tpu': expected auto, cpu or gpu",
            "CLIENT_THREADS='all': expected an integer of at least 1, or auto",
            "LINK_PROXY='proxy 3128': expected host:port, or [address]:port for IPv6",
        ]
    )


def test_the_error_has_one_line_per_problem_even_if_a_value_has_several_lines() -> None:
    with pytest.raises(SettingsError) as caught:
        load(ServerSettings, environ={"STRATEGY": "a\nb", "SEED": "x"})
    assert str(caught.value).splitlines() == [
        r"STRATEGY='a\nb': expected a text without blanks",
        "SEED='x': expected an integer of at least 0",
    ]
    assert caught.value.exit_code == 2


@pytest.mark.parametrize(
    ("address", "host"),
    [("0.0.0.0:8080", "0.0.0.0"), ("[::]:8080", "::"), ("[0:0::0]:8080", "0:0::0")],  # noqa: S104 - rejected
)
def test_a_client_cannot_connect_to_an_address_for_listening_on_all_interfaces(
    address: str, host: str
) -> None:
    (problem,) = problems_of(ClientSettings, {"SERVER_ADDRESS": address})
    assert problem == (
        f"SERVER_ADDRESS='{address}': {host} means all addresses of a machine, and only a server can listen"
        " on it; expected the server's name or address"
    )


def test_problems_of_further_checks_are_reported_together_with_invalid_values() -> None:
    def check(settings: ServerSettings) -> Iterable[str]:
        yield f"STRATEGY={settings.strategy}: is unknown"
        yield f"SEED={settings.seed}: is the default here"

    with pytest.raises(SettingsError) as caught:
        load(ServerSettings, check, lambda _: ["of another check"], environ={"STRATEGY": "x", "SEED": "-1"})
    assert caught.value.problems == [
        "SEED='-1': expected an integer of at least 0",
        "STRATEGY=x: is unknown",
        "SEED=0: is the default here",
        "of another check",
    ]


def test_a_round_needs_as_many_updates_as_clients_unless_min_updates_is_set() -> None:
    assert ServerSettings(min_clients=3).least_updates == 3
    assert ServerSettings(min_clients=3, min_updates=2).least_updates == 2


def test_settings_cannot_be_changed_and_do_not_share_their_defaults() -> None:
    one, other = ServerSettings(), ServerSettings()
    with pytest.raises(AttributeError):
        one.num_rounds = 4  # type: ignore[misc]
    assert one.strategy_args is not other.strategy_args


def test_settings_come_from_the_environment_by_default(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NUM_ROUNDS", "11")
    assert load(ServerSettings).num_rounds == 11
    assert environment()["NUM_ROUNDS"] == "11"


def test_a_change_of_a_childs_environment_leaves_that_of_the_process_alone() -> None:
    environment()["FEDMX_TEST"] = "1"
    assert "FEDMX_TEST" not in os.environ


KINDS = (ServerSettings, ClientSettings, PkiSettings, LocalSettings)
UNLIMITED = {"SERVER_WAIT_TIMEOUT", "CLIENT_WAIT_TIMEOUT", "ROUND_TIMEOUT"}


@pytest.mark.parametrize(("kind", "name"), [(kind, name) for kind in KINDS for name in list_numeric(kind)])
def test_every_extreme_of_a_number_is_accepted_or_rejected_by_name(
    kind: type[CommonSettings], name: str
) -> None:
    accepted = list_accepted(kind, name)
    assert accepted
    for text, settings in accepted.items():
        # A run is recorded as JSON, from which the same settings can be loaded.
        recorded = json.loads(json.dumps(describe(settings), allow_nan=False))
        assert (
            load(kind, environ={key: str(value) for key, value in recorded.items() if value != {}})
            == settings
        )
        assert text.isascii()
        value = getattr(settings, name.lower())
        assert math.isfinite(value) or (name in UNLIMITED and float(text) == 0)
    for text in EXTREMES - accepted.keys():
        (problem,) = problems_of(kind, {name: text})
        assert problem.startswith(f"{name}={text!r}: expected "), problem


@pytest.mark.parametrize(
    ("kind", "name"),
    [
        (ServerSettings, "ROUND_TIMEOUT"),
        (ServerSettings, "CLIENT_WAIT_TIMEOUT"),
        (ClientSettings, "SERVER_WAIT_TIMEOUT"),
    ],
)
@pytest.mark.parametrize("text", ["0", "0.0", "-0"])
def test_zero_means_a_wait_without_limit_and_is_recorded_as_zero(
    kind: type[CommonSettings], name: str, text: str
) -> None:
    settings = load(kind, environ={name: text})
    assert getattr(settings, name.lower()) == math.inf
    assert describe(settings)[name] == 0


def test_a_number_that_is_too_large_is_rejected_with_the_largest_valid_one() -> None:
    assert problems_of(ServerSettings, {"SEED": str(2**64), "LEARNING_RATE": "1e308"}) == [
        "LEARNING_RATE='1e308': expected a number from 1e-30 to 1e+30, since nodes compute in float32",
        f"SEED='{2**64}': expected an integer of at most {2**63 - 1}",
    ]


@pytest.mark.parametrize("name", list_numeric(LocalSettings))
def test_the_launcher_plans_with_every_number_that_it_accepts(name: str) -> None:
    for text in EXTREMES:
        plan = make_plan({name: text})
        assert all(problem.startswith(f"{name}=") for problem in plan.problems)
        assert len(plan.clients) <= 1000


@pytest.mark.parametrize("name", list_numeric(ServerSettings))
def test_the_settings_that_shape_the_model_survive_json_at_every_extreme(name: str) -> None:
    for settings in list_accepted(ServerSettings, name).values():
        assert describe_model(settings) == json.loads(json.dumps(describe_model(settings)))
