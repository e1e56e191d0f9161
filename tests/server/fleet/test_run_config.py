"""The run config of a run on a fleet, which carries the user's settings through TOML."""

import tomllib

import pytest

from fedmx.fields import describe
from fedmx.settings import ServerSettings, load
from server.fleet.runs import write_run_config


@pytest.mark.parametrize(
    "given",
    [
        {},
        {
            "RUN_NAME": "caf\u00e9 \U0001f680",
            "RUN_NOTES": 'a "quote", a \\ and\na line',
            "RUN_TAGS": "a,\u65e5\u672c",
        },
        {
            "STRATEGY": "fedavgm",
            "STRATEGY_ARGS": '{"server_momentum": 0.9}',
            "TASK_OPTIONS": '{"a": "\U0001f680"}',
        },
        {"LEARNING_RATE": "1e-05", "DP_DELTA": "1e-7", "CLIENT_WAIT_TIMEOUT": "0", "TARGET": "accuracy>=0.9"},
    ],
    ids=["defaults", "texts", "objects", "numbers"],
)
def test_settings_survive_the_run_config(given: dict[str, str]) -> None:
    settings = load(ServerSettings, environ=given)
    config = tomllib.loads("\n".join(write_run_config(settings)))
    assert {type(value) for value in config.values()} <= {bool, int, float, str}
    variables = {name.upper().replace("-", "_"): str(value) for name, value in config.items()}
    assert given.keys() <= variables.keys()
    assert describe(load(ServerSettings, environ=variables)) == describe(settings)
