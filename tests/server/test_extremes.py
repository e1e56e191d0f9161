"""Whatever number a setting accepts, a run with it works, or fails with one line: nothing overflows."""

import contextlib
import json
from typing import Any

import pytest

from fedmx.errors import FederationError
from fedmx.settings import ServerSettings
from server import strategies
from server.strategy_arguments import NAMES
from tests.extremes import list_accepted, list_numeric
from tests.server.federation import Federation
from tests.server.local_grid import Table
from tests.server.nodes import Config, Metrics, NullNode, Values, keep, shift


def stop_in_round_2(values: Values, config: Config) -> tuple[Values, Metrics]:
    if config["server-round"] == 2:
        raise ArithmeticError("enough rounds")
    return keep(values, config)


@pytest.mark.slow
@pytest.mark.parametrize("name", list_numeric(ServerSettings))
def test_a_run_works_or_fails_by_one_line_at_every_number_that_is_accepted(
    name: str, federation: Federation
) -> None:
    field, default = name.lower(), ServerSettings()
    values = {getattr(settings, field) for settings in list_accepted(ServerSettings, name).values()}
    # Other tests run with ordinary numbers.
    for value in sorted(value for value in values if not 1 < value < 1e9):
        given: dict[str, Any] = {
            "client_wait_timeout": 0.5,
            "lease_grace": 0.0,
            field: value,
            "resume": "never",
        }
        if strategies.find_problems(ServerSettings(**given)):
            continue
        nodes = {"a": NullNode(stop_in_round_2), "b": NullNode(stop_in_round_2)}
        with contextlib.suppress(FederationError):
            federation.run(nodes, **given)
        assert federation.facts["settings"][name] in (value, 0), (value, default)


@pytest.mark.parametrize("unlimited", ["client_wait_timeout", "round_timeout"])
def test_a_wait_without_limit_ends_with_what_is_awaited(unlimited: str, federation: Federation) -> None:
    federation.run({"a": NullNode(), "b": NullNode()}, **{unlimited: float("inf")})
    assert federation.facts["status"] == "finished"
    assert federation.facts["settings"][unlimited.upper()] == 0


@pytest.mark.parametrize(
    "value", [5e-324, 1e-300, 1e300, 1.7e308, 2**63, 10**30, 10**400, 0.9999999999999999]
)
@pytest.mark.parametrize("argument", sorted(NAMES))
def test_an_argument_works_or_is_refused_by_name_at_every_extreme(argument: str, value: float) -> None:
    given = json.loads(json.dumps({argument: value}))
    for setting, chosen in [
        *(("strategy_args", {"strategy": name}) for name in strategies.NAMES),
        *(("dp_args", {"dp_mode": mode}) for mode in ("dp-fixed", "dp-adaptive")),
    ]:
        settings: dict[str, Any] = {**chosen, setting: given, "num_partitions": 12, "min_clients": 12}
        problems = strategies.find_problems(ServerSettings(**settings))
        assert all(
            argument in problem or "NUM_PARTITIONS" in problem or "DP_ARGS" in problem for problem in problems
        )
        if not problems:
            table = Table([NullNode(shift(1.0)) for _ in range(12)], **settings)
            with contextlib.suppress(FederationError):
                table.train_round()
