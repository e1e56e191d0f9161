"""Prometheus reads a real run with the files of deploy/monitoring; only times and the address are others."""

import re
import signal
import subprocess
import time
import urllib.parse
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from http import HTTPStatus
from pathlib import Path
from typing import Any

import pytest

from fedmx.pki.authority import LOCAL_SITE
from tests.bounds import HANG_S
from tests.federation.programs import Federation
from tests.ports import find_free_port
from tests.server.status.web import fetch
from tests.tools import ROOT, find_program

FOLDER = ROOT / "deploy" / "monitoring"
TINY = {"TASK": "tiny_task"}


class Prometheus:
    """A Prometheus that reads one server.

    Args:
        folder: for its files.
        target: the server's STATUS_ADDRESS.
    """

    def __init__(self, folder: Path, target: str) -> None:
        self._url = f"http://127.0.0.1:{find_free_port()}"
        folder.mkdir()
        config = (FOLDER / "prometheus.yml").read_text().replace("server:8081", target)
        (folder / "prometheus.yml").write_text(re.sub("_interval: .*", "_interval: 200ms", config))
        rules = (FOLDER / "rules.yml").read_text()
        (folder / "rules.yml").write_text(re.sub("for: .*", "for: 200ms", rules))
        self._process = subprocess.Popen(
            [
                find_program("prometheus", "REQUIRE_PROMETHEUS"),
                f"--config.file={folder / 'prometheus.yml'}",
                f"--storage.tsdb.path={folder / 'data'}",
                f"--web.listen-address={self._url.removeprefix('http://')}",
                "--log.level=error",
            ],
            stdin=subprocess.DEVNULL,
        )

    def query(self, expression: str) -> list[dict[str, Any]]:
        """Return the samples of an expression; none while Prometheus starts."""
        found = self._ask(f"query?{urllib.parse.urlencode({'query': expression})}")
        samples: list[dict[str, Any]] = found["result"] if found else []
        return samples

    def list_alerts(self) -> set[str]:
        """List the alerts that fire."""
        found = self._ask("alerts")
        alerts = found["alerts"] if found else []
        return {alert["labels"]["alertname"] for alert in alerts if alert["state"] == "firing"}

    def wait_for(self, is_so: Callable[[], object]) -> None:
        deadline = time.monotonic() + HANG_S
        while not is_so():
            assert time.monotonic() < deadline
            time.sleep(0.1)

    def await_evaluation(self) -> None:
        """Wait until every rule was evaluated several times, so that what should fire does."""
        for _ in range(5):
            now = datetime.now(UTC)
            self.wait_for(lambda: self._find_oldest_evaluation() > now)  # noqa: B023 - called in this iteration

    def _find_oldest_evaluation(self) -> datetime:
        [group] = self._ask("rules")["groups"]
        # Python knows six digits of a second.
        times = [re.sub(r"(\.\d{6})\d*", r"\1", rule["lastEvaluation"]) for rule in group["rules"]]
        return min(map(datetime.fromisoformat, times))

    def stop(self) -> None:
        self._process.send_signal(signal.SIGTERM)
        self._process.wait(HANG_S)

    def _ask(self, path: str) -> Any:
        try:
            answer = fetch(self._url, f"/api/v1/{path}")
        except OSError:
            return None
        return None if answer.status == HTTPStatus.SERVICE_UNAVAILABLE else answer.json["data"]


@pytest.fixture
def status() -> str:
    return f"127.0.0.1:{find_free_port()}"


@pytest.fixture
def prometheus(tmp_path: Path, status: str) -> Iterator[Prometheus]:
    started = Prometheus(tmp_path / "prometheus", status)
    try:
        # It answers before there is anything to read.
        started.wait_for(lambda: started.query("up == 0"))
        yield started
    finally:
        started.stop()


@pytest.fixture
def federation(tmp_path: Path) -> Iterator[Federation]:
    federation = Federation(tmp_path, find_free_port())
    yield federation
    federation.end()


def test_the_final_accuracy_of_a_finished_run_can_be_queried_and_no_alert_fires(
    federation: Federation, prometheus: Prometheus, status: str
) -> None:
    # Nobody waits that long: Prometheus reads the outcome within its interval.
    code = federation.run(client_settings=TINY, NUM_ROUNDS=2, STATUS_ADDRESS=status, STATUS_LINGER=1_000_000)
    assert code == 0, federation.logs
    last = federation.history[-1]
    [sample] = prometheus.query('last_over_time(fedmx_evaluation{metric="accuracy"}[1h])')
    assert float(sample["value"][1]) == last["evaluate"]["metrics"]["accuracy"]
    [site] = prometheus.query("last_over_time(fedmx_site_certificate_expiry_timestamp_seconds[1h]) > time()")
    assert site["metric"]["site"] == LOCAL_SITE
    [state] = prometheus.query("last_over_time(fedmx_run_state[1h]) == 1")
    assert state["metric"]["state"] == "finished"
    prometheus.wait_for(lambda: prometheus.query("up == 0"))
    prometheus.await_evaluation()
    assert prometheus.list_alerts() == set()


def test_a_server_that_is_killed_raises_an_alert(
    federation: Federation, prometheus: Prometheus, status: str
) -> None:
    server = federation.start_server(NUM_PARTITIONS=1, MIN_CLIENTS=1, STATUS_ADDRESS=status)
    server.wait_for("status page")
    prometheus.wait_for(lambda: prometheus.query('fedmx_run_state{state="waiting"} == 1'))
    assert prometheus.list_alerts() == set()
    server.stop(signal.SIGKILL)
    prometheus.wait_for(lambda: "FedmxServerGone" in prometheus.list_alerts())


def test_a_run_that_fails_raises_an_alert(
    federation: Federation, prometheus: Prometheus, status: str
) -> None:
    server = federation.start_server(
        NUM_PARTITIONS=1, MIN_CLIENTS=1, CLIENT_WAIT_TIMEOUT=1, STATUS_ADDRESS=status, STATUS_LINGER=1_000_000
    )
    assert server.wait() == 3
    prometheus.wait_for(lambda: "FedmxRunFailed" in prometheus.list_alerts())
    assert "FedmxServerGone" not in prometheus.list_alerts()
