"""300 MB to a node and back, as two processes; prints what it took.

Memory is in bytes above what the process began with.
"""

import json
import sys

import numpy as np
import psutil
from flwr.app import Message, MessageType, MetricRecord, RecordDict

from bench.flower_app.null_app.stopwatch import read_memory
from fedmx.memory import share_heap
from fedmx.values import Address
from tests.bounds import HANG_S
from tests.fedmx.link.loopback import Hub, Node, Worker, change
from tests.fedmx.protocol.wire import pack, unpack

SIZE = 100_000_000
TIMEOUT_S = HANG_S


def rss() -> int:
    return int(psutil.Process().memory_info().rss)


def peak() -> int:
    # Not getrusage: its peak includes the memory of the parent at the time of the fork.
    return read_memory("VmHWM")


def be_node(port: int) -> None:
    before = rss()

    def work(message: Message) -> RecordDict:
        if message.metadata.group_id == "1":
            return change(message)
        return RecordDict({"memory": MetricRecord({"after": rss() - before, "peak": peak() - before})})

    node = Node(Address("127.0.0.1", port), worker=Worker(work), wait_timeout_s=TIMEOUT_S).serve()
    node._thread.join()
    if node.outcome is not None:
        raise node.outcome


def be_server(port: int) -> None:
    before = rss()
    hub = Hub(port)
    hub.await_ready("node")
    measured = exchange(hub)
    measured["server_peak"] = peak() - before
    (reply,) = hub.ask(
        Message(RecordDict(), hub.node_id(), MessageType.TRAIN, group_id="2"), timeout=TIMEOUT_S
    )
    of_node = reply.content.metric_records["memory"]
    measured |= {"node_after": of_node["after"], "node_peak": of_node["peak"], "server_after": rss() - before}
    hub.stop()
    print(json.dumps(measured))


def exchange(hub: Hub) -> dict[str, object]:
    """Make the round trip; all arrays are released when it returns."""
    record = pack({name: np.full(SIZE, number, np.uint8) for number, name in enumerate("abc")})
    message = Message(RecordDict({"arrays": record}), hub.node_id(), MessageType.TRAIN, group_id="1")
    (reply,) = hub.ask(message, timeout=TIMEOUT_S)
    assert unpack(reply.content.array_records["arrays"]["c"])[-1] == 3
    transfer = hub.grid.transfer(reply)
    assert transfer is not None
    return {"bytes_down": transfer.bytes_down, "bytes_up": transfer.bytes_up, "seconds": transfer.seconds}


if __name__ == "__main__":
    share_heap()
    {"server": be_server, "node": be_node}[sys.argv[1]](int(sys.argv[2]))
