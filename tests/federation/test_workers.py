"""Tasks that load data in forked workers while the client's connection is open."""

import signal
import time
from pathlib import Path

import pytest

from tests.bounds import HANG_S
from tests.federation.programs import Federation, Program

FORKING = {"TASK": "forking_task"}


def find_worker(client: Program) -> Path:
    """Return the folder in /proc of the worker that a client's task started and left."""
    return Path("/proc") / client.wait_for(r"worker=\d+", HANG_S).removeprefix("worker=")


def await_end_of(worker: Path) -> None:
    deadline = time.monotonic() + HANG_S
    while worker.exists() and ") Z" not in (worker / "stat").read_text():
        assert time.monotonic() < deadline
        time.sleep(0.05)


@pytest.mark.slow
def test_forked_workers_load_data_and_the_model_is_the_same(cold_federation: Federation) -> None:
    digests = set()
    for task in ("tiny_task", "forking_task"):
        cold_federation.is_forked = task == "tiny_task"
        assert cold_federation.run(client_settings={"TASK": task}, RESUME="never", BATCH_SIZE=50) == 0, (
            cold_federation.logs
        )
        digests.add(cold_federation.facts["model_sha256"])
    assert len(digests) == 1
    assert "Traceback" not in cold_federation.logs
    for client in cold_federation.programs[-2:]:
        assert client.process.returncode == 0
        await_end_of(find_worker(client))


@pytest.mark.parametrize("number", [pytest.param(signal.SIGTERM, marks=pytest.mark.slow), signal.SIGKILL])
def test_no_worker_outlives_a_client_that_is_ended(cold_federation: Federation, number: int) -> None:
    cold_federation.start_server(MIN_CLIENTS=1, NUM_PARTITIONS=1, NUM_ROUNDS=100_000)
    client = cold_federation.start_client(**FORKING)
    worker = find_worker(client)
    client.wait_for("ready", HANG_S)
    assert worker.exists()
    client.process.send_signal(number)
    assert client.wait(HANG_S) == (143 if number == signal.SIGTERM else -signal.SIGKILL)
    await_end_of(worker)
