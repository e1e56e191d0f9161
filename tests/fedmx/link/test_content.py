"""Arrays that the other end has are not sent again: which, after what, and whose a message may refer to."""

from collections.abc import Callable, Iterator

import numpy as np
import pytest
from flwr.app import Array, Message, MetricRecord, RecordDict

from fedmx import arrays
from fedmx.protocol import encode as codec
from fedmx.protocol import link_pb2 as pb
from fedmx.protocol.control import Holding
from tests.bounds import HANG_S
from tests.federation.chaos.cable import Cable
from tests.fedmx.link.loopback import RUN_ID, Hub, Worker, change
from tests.fedmx.link.raw_node import RawNode
from tests.fedmx.protocol.wire import pack

COUNT = 10
SIZE = 1_000_000
MODEL = COUNT * SIZE
# What goes over the line beside arrays: hello, ready, headers, HTTP/2.
REST = 100_000


@pytest.fixture
def raw(hub: Hub) -> Iterator[RawNode]:
    node = RawNode(hub.address)
    yield node
    node.hang_up()


def model(number: int, changed: int = COUNT) -> RecordDict:
    """Return ten arrays, of which the first differ from those of another number."""
    values = {f"a{i}": np.full(SIZE, 20 * number * (i < changed) + 2 * i, np.uint8) for i in range(COUNT)}
    return RecordDict({"arrays": pack(values)})


def evaluate(_: Message) -> RecordDict:
    return RecordDict({"metrics": MetricRecord({"loss": 0.5})})


def carried(hub: Hub, cable: Cable, message: Message) -> tuple[int, int]:
    """Ask, and return the bytes that went down and up."""
    before = dict(cable.carried)
    (reply,) = hub.ask(message)
    assert not reply.has_error()
    return cable.carried["down"] - before["down"], cable.carried["up"] - before["up"]


def is_about(count: int, expected: int) -> bool:
    return expected <= count < expected + REST


def test_the_model_that_was_evaluated_is_not_sent_again_to_be_trained(hub: Hub, cable: Cable) -> None:
    def step(message: Message) -> RecordDict:
        return change(message) if message.metadata.message_type == "train" else evaluate(message)

    hub.start(address=cable.address, worker=Worker(step))
    new = model(7)
    down, up = carried(hub, cable, hub.message(model(1)))
    assert is_about(down, MODEL)
    assert is_about(up, MODEL)
    down, up = carried(hub, cable, hub.message(new, step="evaluate"))
    assert is_about(down, MODEL)
    assert is_about(up, 0)
    down, up = carried(hub, cable, hub.message(new, number=2))
    assert is_about(down, 0)
    assert is_about(up, MODEL)


def test_arrays_that_do_not_change_travel_once(hub: Hub, cable: Cable) -> None:
    hub.start(address=cable.address)
    assert is_about(carried(hub, cable, hub.message(model(1)))[0], MODEL)
    down, up = carried(hub, cable, hub.message(model(2, changed=1), number=2))
    assert is_about(down, 9 * SIZE + SIZE)
    down, up = carried(hub, cable, hub.message(model(3, changed=1), number=3))
    assert is_about(down, SIZE)
    # This node returns all of them as they came.
    assert is_about(up, 0)


def test_a_reply_has_the_values_of_the_arrays_that_were_left_out_of_it(hub: Hub) -> None:
    def change_one(message: Message) -> RecordDict:
        record = dict(message.content.array_records["arrays"])
        record["a3"] = arrays.pack(np.full(SIZE, 77, np.uint8))
        return RecordDict({"arrays": arrays.make_record(record)})

    hub.start(worker=Worker(change_one))
    (reply,) = hub.ask(hub.message(model(1)))
    values = {
        name: int(arrays.view(array)[0]) for name, array in reply.content.array_records["arrays"].items()
    }
    assert values == {f"a{i}": 77 if i == 3 else 20 + 2 * i for i in range(COUNT)}


def test_negative_zero_is_another_value_than_zero(hub: Hub) -> None:
    def negate(message: Message) -> RecordDict:
        values = arrays.view(message.content.array_records["arrays"]["a"])
        return RecordDict({"arrays": pack({"a": np.negative(values)})})

    hub.start(worker=Worker(negate))
    (reply,) = hub.ask(hub.message(RecordDict({"arrays": pack({"a": np.zeros(5, np.float32)})})))
    assert np.signbit(arrays.view(reply.content.array_records["arrays"]["a"])).all()


def test_a_node_that_reconnects_while_it_works_is_sent_nothing_that_it_has(hub: Hub, cable: Cable) -> None:
    node = hub.start(address=cable.address, worker=Worker(change))
    node.worker.gate.clear()
    asked = hub.ask_in_background(hub.message(model(1)))
    for _ in range(3):
        assert node.worker.begun.wait(HANG_S)
        before = cable.carried["down"]
        hub.await_return("node", cable.cut)
        assert cable.carried["down"] - before < REST
    node.worker.gate.set()
    (reply,) = asked.get()
    assert arrays.view(reply.content.array_records["arrays"]["a0"])[0] == 21
    assert node.worker.asked == ["1"]


def test_what_had_arrived_of_a_model_when_its_stream_broke_is_not_sent_again(hub: Hub, cable: Cable) -> None:
    node = hub.start(address=cable.address, worker=Worker(evaluate))
    assert len(hub.ask(hub.message(model(1)))) == 1
    start = cable.carried["down"]
    for count in (4, 8):
        cable.after("down", count * SIZE, cable.cut)
    asked = hub.ask_in_background(hub.message(model(2), number=2))
    assert len(asked.get()) == 1
    assert node.worker.asked == ["1", "2"]
    assert MODEL < cable.carried["down"] - start < MODEL + 6 * SIZE, "22 MB without it"


def test_a_queued_request_survives_a_broken_stream(hub: Hub, cable: Cable) -> None:
    node = hub.start(address=cable.address)
    node.worker.gate.clear()
    asked = hub.ask_in_background(hub.message(model(1)), hub.message(model(2), number=2))
    hub.wait_until(lambda: node.waiting == ["2"])
    before = cable.carried["down"]
    hub.await_return("node", cable.cut)
    hub.wait_until(lambda: node.waiting == ["2"])
    assert cable.carried["down"] - before < REST
    node.worker.gate.set()
    assert len(asked.get()) == 2
    assert node.worker.asked == ["1", "2"]


def test_the_arrays_of_a_reply_that_arrived_before_a_break_are_not_sent_again(hub: Hub, cable: Cable) -> None:
    hub.start(address=cable.address, worker=Worker(change))
    # The array that is cut off is sent again, and so is what was on its way.
    cable.after("up", MODEL // 2, cable.cut)
    (reply,) = hub.ask(hub.message(model(1)))
    values = [int(arrays.view(array)[-1]) for array in reply.content.array_records["arrays"].values()]
    assert values == [21 + 2 * i for i in range(COUNT)]
    assert MODEL <= cable.carried["up"] < 1.5 * MODEL


def test_what_arrived_before_one_break_is_not_sent_again_after_the_next(hub: Hub, cable: Cable) -> None:
    hub.start(address=cable.address, worker=Worker(change))
    cable.after("up", MODEL // 2, cable.cut)
    cable.after("up", MODEL * 9 // 10, cable.cut)
    (reply,) = hub.ask(hub.message(model(1)))
    values = [int(arrays.view(array)[-1]) for array in reply.content.array_records["arrays"].values()]
    assert values == [21 + 2 * i for i in range(COUNT)]
    assert MODEL <= cable.carried["up"] < 1.9 * MODEL


def test_a_restarted_server_is_told_what_its_nodes_have(open_hub: Callable[..., Hub]) -> None:
    first = open_hub()
    cable = first.lay_cable()
    node = first.start(address=cable.address, worker=Worker(change))
    assert len(first.ask(first.message(model(1)))) == 1
    first.stop(None)
    again = open_hub(port=first.address.port)
    again.await_ready("node")
    before = dict(cable.carried)
    # The request is the one that was answered before, and its arrays are those that the node received last.
    (reply,) = again.ask(again.message(model(1)))
    assert arrays.view(reply.content.array_records["arrays"]["a9"])[0] == 21 + 2 * 9
    assert node.worker.asked == ["1"]
    assert is_about(cable.carried["down"] - before["down"], 0)
    assert is_about(cable.carried["up"] - before["up"], MODEL)
    before = dict(cable.carried)
    assert len(again.ask(again.message(model(1), number=2))) == 1
    assert is_about(cable.carried["down"] - before["down"], 0)


def header_of(array: Array, request_id: str, digest: bytes) -> pb.Header:
    values = arrays.view(array)
    head = pb.Array(name="a", dtype=values.dtype.name, shape=values.shape, digest=digest)
    return pb.Header(request_id=request_id, array_records=[pb.ArrayRecord(name="arrays", arrays=[head])])


def refer(raw: RawNode, array: Array, request_id: str) -> None:
    """Reply with an array that is left out."""
    header = header_of(array, request_id, arrays.digest(array))
    raw.send(begin=pb.Begin(header=header.SerializeToString(), left_out=[0]))


def test_a_guess_of_what_another_site_has_is_answered_like_any_other(hub: Hub) -> None:
    """A site must not learn whether another one has sent, or was sent, an array."""
    secret, unknown = (arrays.pack(np.full(1000, value, np.float32)) for value in (0.125, 0.25))

    def reply_with_secret(message: Message) -> RecordDict:
        return RecordDict({"arrays": arrays.make_record({"a": secret})})

    hub.start("good", Worker(reply_with_secret))
    answers = []
    for guess in (secret, unknown):
        raw = RawNode(hub.address)
        raw.get_ready("bad")
        hub.ask_in_background(
            hub.message(name="bad"),
            hub.message(RecordDict({"arrays": arrays.make_record({"a": secret})}), "good"),
        )
        request_id = raw.receive_header().request_id
        refer(raw, guess, request_id)
        missing = raw.receive("missing")
        assert missing.request_id == request_id
        answers.append(missing.SerializeToString())
        raw.hang_up()
        hub.await_gone("bad")
    assert answers[0] == answers[1]


def test_a_node_that_refers_again_to_what_is_not_here_is_refused(hub: Hub, raw: RawNode) -> None:
    raw.get_ready()
    hub.ask_in_background(hub.message(name="raw"))
    request_id = raw.receive_header().request_id
    unknown = arrays.pack(np.full(1000, 0.25))
    refer(raw, unknown, request_id)
    raw.receive("missing")
    refer(raw, unknown, request_id)
    assert raw.receive("goodbye").reason == "a message that lacks arrays again"


def test_a_node_that_lacks_what_it_said_to_have_is_sent_it_once_more(hub: Hub, raw: RawNode) -> None:
    content = model(1, changed=1)
    digests = frozenset(arrays.digest(array) for array in content.array_records["arrays"].values())
    raw.get_ready(holding=Holding(RUN_ID, frozenset(), digests))
    hub.ask_in_background(hub.message(content, name="raw"))
    begin = raw.receive("begin")
    assert list(begin.left_out) == list(range(COUNT))
    request_id = pb.Header.FromString(begin.header).request_id
    raw.send(missing=pb.Missing(request_id=request_id, arrays=[0, 5]))
    begin = raw.receive("begin")
    assert [place for place in range(COUNT) if place not in begin.left_out] == [0, 5]
    assert begin.array_bytes == 2 * SIZE


def test_what_a_node_has_of_another_run_is_sent(hub: Hub, raw: RawNode) -> None:
    content = model(1)
    digests = frozenset(arrays.digest(array) for array in content.array_records["arrays"].values())
    raw.get_ready(holding=Holding(RUN_ID + 1, frozenset(), digests))
    hub.ask_in_background(hub.message(content, name="raw"))
    assert raw.receive("begin").array_bytes == MODEL


def test_a_request_that_a_node_claims_and_does_not_have_is_sent_when_it_asks(hub: Hub, raw: RawNode) -> None:
    raw.send_hello()
    raw.receive("welcome")
    hub.wait_until(lambda: any(node.name == "raw" for node in hub.roster.nodes()))
    message = hub.message(model(1), name="raw")
    encoded = codec.encode_arrays(message.content)
    sent = codec.encode(
        pb.Header(message_type="train", group_id="1", run_id=RUN_ID), message.content, encoded
    )
    raw.send(holding=pb.Holding(run_id=RUN_ID, request_ids=[sent.request_id]))
    raw.send(ready=pb.Ready())
    hub.ask_in_background(message)
    assert raw.receive("repeat").request_id == sent.request_id
    raw.send(missing=pb.Missing(request_id=sent.request_id))
    assert raw.receive("begin").array_bytes == MODEL
