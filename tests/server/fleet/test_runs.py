"""A run on a fleet: its run config, which carries the user's settings through TOML, and its id in the log."""

import logging
import tomllib

import pytest

from fedmx import log
from fedmx.errors import SettingsError
from fedmx.fields import describe
from fedmx.settings import ServerSettings, load
from server.__main__ import main
from server.fleet.runs import find_run_id, write_run_config


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


@pytest.mark.parametrize("form", ["text", "json"])
@pytest.mark.parametrize("name", ["run started", "run resumed"])
def test_the_id_of_a_run_is_found_in_either_form_of_the_log(
    form: str, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    before = log.logger.handlers[:], log.logger.level, log.logger.propagate
    try:
        log.configure("INFO", form)
        log.event(name, logging.INFO, run="20261126-1-ab", folder="/runs/x", nodes=2)
        log.event("waiting for nodes", logging.INFO, run="another")
    finally:
        log.logger.handlers[:], log.logger.level, log.logger.propagate = before
    captured = capsys.readouterr()
    lines = (captured.out + captured.err).splitlines()
    assert [find_run_id(line) for line in lines] == ["20261126-1-ab", None]


@pytest.mark.parametrize("number", ["latest", "1.5", "-1", ""])
def test_another_word_than_the_number_of_a_run_is_rejected_before_flwr_is_called(number: str) -> None:
    with pytest.raises(SettingsError) as caught:
        main(["fleet", "follow", "--", number])
    assert len(str(caught.value).splitlines()) == 1
    assert "flwr list" in str(caught.value)
