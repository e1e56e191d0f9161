"""A run of 1,000 rounds and 200 nodes: what is sent is not large, and is built once for all who ask."""

from collections.abc import Iterator, Mapping
from typing import Any

import pytest

from fedmx.fields import describe
from fedmx.settings import ServerSettings
from server.engine import adapt
from server.nodes import Nodes
from server.report import Opening
from server.status.server import StatusServer
from tests.server.local_grid import LocalGrid
from tests.server.nodes import NullNode
from tests.server.reports import make_report
from tests.server.status.conftest import ANY_PORT
from tests.server.status.history import write_run
from tests.server.status.web import Answer, fetch, wait_until

RUN = "20260102-030405-abcd"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[StatusServer]:
    """A server that has read the run."""
    runs_dir = tmp_path_factory.mktemp("runs")
    settings = ServerSettings(runs_dir=runs_dir, status_address=ANY_PORT)
    write_run(runs_dir / RUN, rounds=1000, nodes=200, settings=describe(settings))
    nodes = Nodes(adapt(LocalGrid({number: NullNode() for number in range(200)})), settings)
    server = StatusServer(settings, ANY_PORT)
    server.on_open(Opening(RUN, runs_dir / RUN, is_resumed=True, settings=describe(settings), nodes=nodes))
    wait_until(lambda: ask(server, "/status.json").json["run"]["rounds"] == 1000)
    yield server
    server.close(is_stopped=True)


def ask(server: StatusServer, path: str) -> Answer:
    return fetch(server.url or "", path, Accept_Encoding="gzip")


@pytest.mark.parametrize("path", ["/status.json", f"/runs/{RUN}.json", "/metrics", "/"])
def test_no_answer_of_a_long_run_is_large(path: str, server: StatusServer) -> None:
    answer = ask(server, path)
    assert answer.status == 200
    assert len(answer.text) < 1_000_000


def test_all_who_ask_get_what_was_built_once(server: StatusServer, monkeypatch: pytest.MonkeyPatch) -> None:
    described = []
    describe_run = server._live._overview.describe

    def note(facts: Mapping[str, Any]) -> dict[str, Any]:
        described.append(facts)
        return describe_run(facts)

    monkeypatch.setattr(server._live._overview, "describe", note)
    for _ in range(100):
        assert ask(server, "/status.json").status == 200
    assert described == []
    server.on_round(make_report(1001))
    wait_until(lambda: ask(server, "/status.json").json["run"]["rounds"] == 1001)
    assert len(described) == 1
