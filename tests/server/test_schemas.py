"""Before round 1, sites agree on the columns of their data: in memory, and over the link."""

import json
import logging
from typing import Any

import pytest

from fedmx import memory
from fedmx.errors import FederationError, SettingsError, TrainingFailedError
from fedmx.settings import ServerSettings
from fedmx.values import PartitionRule
from server.agreement import agree
from server.engine import adapt
from server.model import GlobalModel
from server.nodes import Nodes
from tests.server.federation import Federation
from tests.server.local_grid import LocalGrid
from tests.server.nodes import NullNode

NUMBERS = {"count": 10, "mean": 1.0, "variance": 4.0, "has_missing": False}
SITES = PartitionRule("none")


def node(**columns: Any) -> NullNode:
    return NullNode(columns=json.dumps(columns))


def open_with(nodes: list[NullNode], schema: str = "") -> GlobalModel:
    settings = ServerSettings(
        min_clients=len(nodes), join_window=0.0, client_wait_timeout=0.1, partition=SITES
    )
    engine = adapt(LocalGrid(dict(enumerate(nodes, start=10))))
    return agree(engine, Nodes(engine, settings), settings, schema=schema).model


def failure(nodes: list[NullNode]) -> FederationError:
    with pytest.raises(FederationError) as caught:
        open_with(nodes)
    return caught.value


def test_sites_that_need_a_schema_are_asked_twice_and_agree() -> None:
    nodes = [node(age=NUMBERS, sex={"values": ["f"]}), node(age=NUMBERS | {"mean": 3}, sex={"values": ["m"]})]
    model = open_with(nodes)
    assert json.loads(model.schema) == {
        # Half of each site's variance, and one of the means, which are one from 2.
        "age": {"mean": 2.0, "std": 5**0.5, "has_missing": False},
        "sex": {"values": ["f", "m"]},
    }
    for each in nodes:
        assert [config["schema"] for config in each.asked_to("query")] == ["", model.schema]


def test_sites_that_need_no_schema_are_asked_once() -> None:
    nodes = [NullNode(), NullNode()]
    assert open_with(nodes).schema == ""
    assert [len(each.asked) for each in nodes] == [1, 1]


def test_a_schema_that_is_known_is_not_asked_for_again() -> None:
    nodes = [node(age=NUMBERS), node(age=NUMBERS)]
    assert open_with(nodes, '{"age": 1}').schema == '{"age": 1}'
    assert [len(each.asked) for each in nodes] == [1, 1]


def test_a_column_that_a_site_lacks_is_named_with_the_sites() -> None:
    error = failure([node(age=NUMBERS), node(age=NUMBERS, weight=NUMBERS)])
    assert isinstance(error, SettingsError)
    assert "column 'weight' is numeric at 11 and missing at 10" in str(error)


def test_a_column_of_another_kind_is_named_with_the_sites() -> None:
    error = failure([node(age=NUMBERS), node(age={"values": ["old"]})])
    assert isinstance(error, SettingsError)
    assert "column 'age' is numeric at 10 and categorical at 11" in str(error)


def test_values_that_differ_in_spelling_only_are_a_warning(caplog: pytest.LogCaptureFixture) -> None:
    spellings = [["yes", "no", "a"], ["Yes", "no\u200b", "a"]]
    with caplog.at_level(logging.WARNING, "fedmx"):
        open_with([node(answer={"values": values}, age=NUMBERS) for values in spellings])
    (record,) = caplog.records
    fields: dict[str, Any] = record.__dict__["fields"]
    assert fields["column"] == "answer"
    assert fields["values"] == [r"'no'/'no\u200b'", "'Yes'/'yes'"]


def test_sites_that_share_no_value_of_a_column_are_a_warning(caplog: pytest.LogCaptureFixture) -> None:
    texts = [["f", "m"], ["m", "x"], ["female", "male"]]
    with caplog.at_level(logging.WARNING, "fedmx"):
        open_with([node(sex={"values": values}) for values in texts])
    (record,) = caplog.records
    fields: dict[str, Any] = record.__dict__["fields"]
    assert (fields["column"], fields["nodes"]) == ("sex", ["12"])


@pytest.mark.parametrize("text", ["", "[]", '{"age": 1}'])
def test_a_summary_that_cannot_be_read_names_its_node(text: str) -> None:
    error = failure([node(age=NUMBERS), NullNode(columns=text)])
    assert isinstance(error, TrainingFailedError)
    assert "node 11: not a summary" in str(error) or "node 11: 0 columns" in str(error)


def test_a_node_without_columns_beside_one_with_some_is_named() -> None:
    error = failure([node(age=NUMBERS), NullNode()])
    assert isinstance(error, TrainingFailedError)
    assert "node 11: it sent no summary" in str(error)


def test_a_model_that_does_not_fit_into_memory_is_rejected_once_it_is_described(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(memory, "find_limit", lambda: memory.Limit(2**20, "memory.max"))
    error = failure([node(age=NUMBERS), node(age=NUMBERS)])
    assert isinstance(error, SettingsError)
    assert str(error).startswith("memory.max=1m: ")


def test_nodes_on_the_link_get_the_schema_with_every_message_and_the_run_records_it(
    federation: Federation,
) -> None:
    nodes = {"a": node(age=NUMBERS), "b": node(age=NUMBERS)}
    federation.run(nodes, num_partitions=0, join_window=0.0, partition=SITES)
    recorded = federation.facts["schema"]
    assert recorded == {"age": {"mean": 1.0, "std": 2.0, "has_missing": False}}
    for each in nodes.values():
        steps = [(step, json.loads(config["schema"] or "null")) for step, _, config in each.asked]
        assert steps == [
            ("query", None),
            ("query", recorded),
            ("train", recorded),
            ("evaluate", recorded),
        ]


def test_a_run_without_a_schema_records_none(federation: Federation) -> None:
    nodes = {"a": NullNode(), "b": NullNode()}
    federation.run(nodes)
    assert federation.facts["schema"] is None
