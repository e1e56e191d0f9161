"""A run as a status server shows it: while it goes on, at its end, and afterwards."""

import threading
import time
from typing import Any

import numpy as np
import pytest
from flwr.app import Context, RecordDict

from fedmx.errors import TrainingFailedError
from fedmx.values import Address
from server.app import app
from tests.ports import find_free_port
from tests.server.federation import Federation
from tests.server.local_grid import LocalGrid
from tests.server.nodes import Config, Metrics, NullNode, Values, shift
from tests.server.status.web import Answer, fetch, read_metrics, wait_until

_LATER_S = 1.0


class Watched:
    """A federation with a status server, of which a node takes a look in the middle of the run."""

    def __init__(self, federation: Federation) -> None:
        self.federation = federation
        self.address = Address("127.0.0.1", find_free_port())
        self.url = f"http://{self.address}/"
        self.looks: dict[tuple[str, int], Any] = {}

    def node(self) -> NullNode:
        return NullNode(train=self._train, evaluate=self._evaluate)

    def run(self, nodes: dict[str, NullNode | None], **settings: Any) -> None:
        self.federation.run(nodes, status_address=self.address, **settings)

    def _train(self, values: Values, config: Config) -> tuple[Values, Metrics]:
        number = config["server-round"]
        # A round is shown after it was noted, on another thread.
        wait_until(lambda: self._status()["run"]["rounds"] == number - 1)
        self.looks["train", number] = self._status()
        path = f"/runs/{self.looks['train', number]['run']['run_id']}.json"
        wait_until(lambda: fetch(self.url, path).json["rounds"] == number - 1)
        self.looks["run", number] = fetch(self.url, path)
        self.looks["health", number] = fetch(self.url, "/healthz")
        wait_until(lambda: read_metrics(self.url)["fedmx_rounds_total"] == number - 1)
        self.looks["metrics", number] = read_metrics(self.url)
        return shift(1.0)(values, config)

    def _evaluate(self, values: Values, _: Config) -> Metrics:
        (value,) = {float(np.max(each)) for each in values.values()}
        return {"loss": 1 / value, "accuracy": 0.5, "num-examples": 10}

    def _status(self) -> Any:
        return fetch(self.url, "/status.json", Accept_Encoding="gzip").json


@pytest.fixture
def watched(federation: Federation) -> Watched:
    return Watched(federation)


def test_a_run_is_shown_while_it_goes_on(watched: Watched) -> None:
    watched.run({"a": watched.node(), "b": NullNode()}, num_rounds=3, run_name="first try")
    early, late = watched.looks["train", 1], watched.looks["train", 3]
    assert (early["state"], early["run"]["rounds"], early["run"]["num_rounds"]) == ("running", 0, 3)
    assert early["run"]["run_id"] == watched.federation.facts["run_id"]
    assert early["run"]["name"] == "first try"
    assert [(node["name"], node["state"], node["partition"]) for node in early["nodes"]] == [
        ("a", "ready", 0),
        ("b", "ready", 1),
    ]
    assert early["activity"]["name"] == "train"
    assert (late["activity"]["round"], late["run"]["rounds"]) == (3, 2)
    assert late["run"]["curves"]["rounds"] == [1, 2]
    expected = [line["evaluate"]["metrics"]["loss"] for line in watched.federation.history[:2]]
    assert late["run"]["curves"]["evaluate"]["loss"] == pytest.approx(expected, rel=1e-5)
    own: Answer = watched.looks["run", 3]
    assert own.json == late["run"]
    assert [run["run_id"] for run in late["runs"]] == [watched.federation.facts["run_id"]]
    health: Answer = watched.looks["health", 3]
    assert health.status == 200
    assert health.json == {"state": "running", "run_id": late["run"]["run_id"], "round": 2}


def test_metrics_follow_the_run(watched: Watched) -> None:
    watched.run({"a": watched.node(), "b": NullNode()}, num_rounds=3)
    early, late = watched.looks["metrics", 1], watched.looks["metrics", 3]
    assert (early["fedmx_rounds_total"], late["fedmx_rounds_total"]) == (0, 2)
    assert late["fedmx_rounds_target"] == 3
    assert late['fedmx_run_state{state="running"}'] == 1
    assert late['fedmx_run_state{state="finished"}'] == 0
    assert late['fedmx_nodes{state="ready"}'] == 2
    second = watched.federation.history[1]
    assert late['fedmx_evaluation{metric="loss"}'] == second["evaluate"]["metrics"]["loss"]
    assert late["fedmx_learning_rate"] == second["learning_rate"]
    sent = sum(node["bytes_up"] for line in watched.federation.history[:2] for node in line["nodes"])
    assert late['fedmx_transferred_bytes_total{direction="up"}'] == sent > 0
    assert late['fedmx_phase_duration_seconds_count{phase="train"}'] == 2
    assert late["fedmx_start_timestamp_seconds"] <= late["fedmx_last_round_timestamp_seconds"] + 1
    assert not [name for name in late if name.startswith("fedmx_privacy")]


def test_a_resumed_run_is_shown_from_its_first_round_on(watched: Watched) -> None:
    def fail_in_third(values: Values, config: Config) -> tuple[Values, Metrics]:
        if config["server-round"] == 3:
            raise ZeroDivisionError
        return shift(1.0)(values, config)

    with pytest.raises(TrainingFailedError):
        watched.federation.run({"a": NullNode(fail_in_third)}, num_rounds=4)
    watched.run({"a": watched.node()}, num_rounds=4, resume="force")
    assert watched.looks["train", 3]["run"]["curves"]["rounds"] == [1, 2]
    assert watched.looks["metrics", 3]["fedmx_rounds_total"] == 2
    assert watched.looks["metrics", 4]["fedmx_rounds_total"] == 3


def read_final_metrics(watched: Watched, found: list[dict[str, float]]) -> None:
    """Read the metrics once, some time after the run has ended."""
    wait_until(lambda: has_ended(watched))
    # A server that does not stay is gone by then.
    time.sleep(_LATER_S)
    found.append(read_metrics(watched.url))


def has_ended(watched: Watched) -> bool:
    try:
        return bool(watched.federation.facts["finished"])
    except FileNotFoundError:
        return False


def test_the_final_metrics_stay_until_they_were_read_once(watched: Watched) -> None:
    found: list[dict[str, float]] = []
    reader = threading.Thread(target=read_final_metrics, args=(watched, found))
    reader.start()
    # Nobody waits for this: the reader ends it.
    watched.run({"a": watched.node()}, num_rounds=2, status_linger=1e6)
    reader.join()
    [metrics] = found
    last = watched.federation.history[1]
    assert metrics['fedmx_run_state{state="finished"}'] == 1
    assert metrics["fedmx_rounds_total"] == 2
    assert metrics['fedmx_evaluation{metric="loss"}'] == last["evaluate"]["metrics"]["loss"]


def test_a_run_that_failed_stays_as_long_and_is_not_healthy(watched: Watched) -> None:
    found: list[dict[str, float]] = []
    health: list[Answer] = []

    def read() -> None:
        wait_until(lambda: is_failed(watched, health))
        read_final_metrics(watched, found)

    def fail(_: Values, __: Config) -> tuple[Values, Metrics]:
        raise ZeroDivisionError("the columns do not fit")

    reader = threading.Thread(target=read)
    reader.start()
    with pytest.raises(TrainingFailedError):
        watched.run({"a": NullNode(fail)}, status_linger=1e6)
    reader.join()
    assert health[-1].json["state"] == "failed"
    assert found[0]['fedmx_run_state{state="failed"}'] == 1


def is_failed(watched: Watched, health: list[Answer]) -> bool:
    try:
        health.append(fetch(watched.url, "/healthz"))
    except OSError:
        return False
    return health[-1].status == 503


def test_a_page_that_is_open_reads_how_the_run_ended(watched: Watched) -> None:
    states: list[str] = []

    def look() -> None:
        while not states or states[-1] != "finished":
            # As a page does.
            time.sleep(_LATER_S)
            try:
                states.append(fetch(watched.url, "/status.json").json["state"])
            except OSError:
                if states:
                    return

    page = threading.Thread(target=look)
    page.start()
    watched.run({"a": watched.node()}, num_rounds=2)
    page.join()
    assert states[-1] == "finished"


def test_a_run_on_an_engine_of_flowers_is_shown(watched: Watched, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RUNS_DIR", str(watched.federation.runs_dir))
    settings: dict[str, bool | float | int | str] = {
        "status-address": str(watched.address),
        "num-rounds": 2,
        "min-clients": 1,
        "join-window": 0,
    }
    context = Context(1, 1, node_config={}, state=RecordDict(), run_config=settings)
    app(LocalGrid({100: watched.node()}), context)
    status = watched.looks["train", 2]
    assert (status["state"], status["run"]["rounds"]) == ("running", 1)
    # Such an engine knows a node by its number, and no site.
    assert [(node["name"], node["site"]) for node in status["nodes"]] == [("100", None)]
    assert watched.looks["metrics", 2]['fedmx_nodes{state="ready"}'] == 1


def test_earlier_runs_are_shown_and_nothing_beside_them(watched: Watched) -> None:
    watched.federation.run({"a": NullNode()}, num_rounds=2)
    first = watched.federation.facts["run_id"]
    (watched.federation.runs_dir / "secret.json").write_text("{}")
    found: dict[str, Answer] = {}

    def train(values: Values, config: Config) -> tuple[Values, Metrics]:
        for name in (
            first,
            "none",
            "..",
            "../secret",
            "%2e%2e%2fsecret",
            "secret",
            f"{first}%2f..%2f{first}",
        ):
            found[name] = fetch(watched.url, f"/runs/{name}.json")
        return shift(1.0)(values, config)

    watched.run({"a": NullNode(train)})
    run = found.pop(first)
    assert run.status == 200
    assert (run.json["run_id"], run.json["status"], run.json["rounds"]) == (first, "finished", 2)
    assert {answer.status for answer in found.values()} == {404}


def test_nothing_waits_for_readers_by_default(watched: Watched) -> None:
    watched.run({"a": NullNode()})
    assert watched.federation.facts["status"] == "finished"
