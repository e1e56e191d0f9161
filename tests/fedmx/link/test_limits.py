"""Large models: what is sent, what MAX_MODEL_BYTES refuses, and that no model is kept needlessly."""

import io
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from flwr.app import Error, Message, RecordDict

from fedmx.array_store import ArrayStore, Slot
from fedmx.settings import environment
from tests.bounds import HANG_S
from tests.fedmx.link.loopback import Hub, Node, Worker
from tests.fedmx.protocol.wire import pack
from tests.ports import find_free_port

ROOT = Path(__file__).parents[3]
MB = 1_000_000


def of_bytes(count: int) -> RecordDict:
    return RecordDict({"arrays": pack({"a": np.ones(count, np.uint8)})})


def error_of(replies: list[Message]) -> Error:
    (reply,) = replies
    assert reply.has_error()
    return reply.error


def test_a_model_that_exceeds_a_nodes_limit_is_not_sent_and_the_error_names_size_and_limit(hub: Hub) -> None:
    node = hub.start(max_model_bytes=1000)
    error = error_of(hub.ask(hub.message(of_bytes(1001))))
    assert (error.code, error.reason) == (
        # Exit code 2: a setting.
        102,
        "MAX_MODEL_BYTES=1000 on this node: the arrays have 1001 bytes",
    )
    assert len(hub.ask(hub.message(of_bytes(1000), number=2))) == 1
    assert node.worker.asked == ["2"]


def test_a_request_that_waited_for_a_node_to_load_is_checked_against_its_limit_too(hub: Hub) -> None:
    node = Node(hub.address, max_model_bytes=1000)
    hub.nodes.append(node)
    hub.wait_until(lambda: len(hub.roster.nodes()) == 1)
    asked = hub.ask_in_background(hub.message(of_bytes(1001)))
    node.serve()
    assert error_of(asked.get()).code == 102


def test_a_reply_that_exceeds_the_servers_limit_is_reported_on_both_sides(
    open_hub: Callable[..., Hub], log: io.StringIO
) -> None:
    hub = open_hub(max_model_bytes=1000)
    hub.start(worker=Worker(lambda message: of_bytes(999 + int(message.metadata.group_id))))
    assert not hub.ask(hub.message(number=1))[0].has_error()
    error = error_of(hub.ask(hub.message(number=2)))
    reason = "MAX_MODEL_BYTES=1000 on the server: the arrays have 1001 bytes"
    assert (error.code, error.reason) == (102, reason)
    assert f'WARNING request failed round=2 step=train reason="{reason}"\n' in log.getvalue()
    assert not hub.ask(hub.message(number=1))[0].has_error()


@pytest.fixture(scope="module")
def large() -> dict[str, float]:
    """Send 300 MB to a node and back, in processes that return freed memory at once; see `large.py`."""
    memory = {"MALLOC_MMAP_THRESHOLD_": "900000", "MALLOC_TRIM_THRESHOLD_": "131072"}
    port = str(find_free_port())
    command = [sys.executable, "-m", "tests.fedmx.link.large"]
    node = subprocess.Popen([*command, "node", port], cwd=ROOT, env=environment() | memory)
    server = subprocess.run(
        [*command, "server", port], cwd=ROOT, env=environment() | memory, stdout=subprocess.PIPE, check=True
    )
    assert node.wait(HANG_S) == 0
    measured: dict[str, float] = json.loads(server.stdout)
    return measured


def test_300_megabytes_survive_a_round_trip(large: dict[str, float]) -> None:
    assert large["bytes_down"] > 300 * MB
    assert large["bytes_up"] > 300 * MB


def test_the_server_needs_the_model_and_the_reply(large: dict[str, float]) -> None:
    assert large["server_peak"] < (2 * 300 + 50) * MB


def test_the_server_keeps_no_reply_once_it_is_used(large: dict[str, float]) -> None:
    assert large["server_after"] < 150 * MB


def test_a_node_needs_the_model_and_its_reply(large: dict[str, float]) -> None:
    assert large["node_peak"] < (2 * 300 + 50) * MB


def test_a_node_keeps_the_newest_arrays_and_no_old_reply(large: dict[str, float]) -> None:
    assert large["node_after"] < (300 + 50) * MB


def test_a_reply_with_more_arrays_than_were_asked_for_is_not_received(open_hub: Callable[..., Hub]) -> None:
    opened: list[int] = []
    store = ArrayStore()

    def note(dtype: str, shape: tuple[int, ...]) -> Slot:
        opened.append(shape[0])
        return ArrayStore.open(store, dtype, shape)

    store.open = note  # type: ignore[method-assign]
    hub = open_hub(store=store)
    node = hub.start(worker=Worker(lambda message: of_bytes(20 * MB + int(message.metadata.group_id))))

    def ask(number: int) -> list[Message]:
        message = hub.message(RecordDict(), number=number)
        return list(hub.grid.send_and_receive([message], most_reply_bytes=20 * MB + 1))

    reason = "a reply with arrays of 20000002 bytes, expected at most 20000001"
    assert error_of(ask(2)).reason == reason
    assert not ask(1)[0].has_error()
    assert opened == [20 * MB + 1]
    assert node.worker.asked == ["2", "1"]
