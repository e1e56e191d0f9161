"""The nodes as a ServerApp sees them: Flower's grid, over real streams."""

import gc
import io
import weakref
from collections.abc import Callable

import numpy as np
import pytest
from flwr.app import Array, ArrayRecord, ConfigRecord, Error, Message, MessageType, MetricRecord, RecordDict
from flwr.serverapp.strategy import FedAvg

from fedmx.errors import DataError
from fedmx.link.flower import empty_run
from fedmx.link.handler import call_app
from fedmx.protocol import encode
from fedmx.protocol import link_pb2 as pb
from fedmx.protocol.decode import Received
from tests.bounds import HANG_S
from tests.fedmx.link.loopback import RUN_ID, Hub, Node, Worker
from tests.fedmx.protocol.wire import pack, unpack


def shift(by: float, examples: int, loss: float) -> Callable[[Message], RecordDict]:
    """Return an app's work: it adds a number to every value and always measures the same loss."""

    def work(message: Message) -> RecordDict:
        metrics = MetricRecord({"loss": loss, "num-examples": examples})
        if message.metadata.message_type == MessageType.EVALUATE:
            return RecordDict({"metrics": metrics})
        (record,) = message.content.array_records.values()
        moved = pack({name: unpack(array) + np.float32(by) for name, array in record.items()})
        return RecordDict({"arrays": moved, "metrics": metrics})

    return work


def error_of(replies: list[Message]) -> Error:
    (reply,) = replies
    assert reply.has_error()
    return reply.error


def test_flowers_own_fedavg_runs_on_it_unchanged(hub: Hub) -> None:
    hub.start("north", Worker(shift(1.0, examples=1, loss=0.5)))
    hub.start("south", Worker(shift(4.0, examples=3, loss=0.1)))
    initial = ArrayRecord({"w": Array(np.zeros((2, 2), np.float32)), "b": Array(np.ones(1, np.float32))})
    result = FedAvg().start(hub.grid, initial, num_rounds=3)
    # Each round adds (1 * 1 + 3 * 4) / 4 = 3.25.
    assert unpack(result.arrays["w"]).tolist() == [[9.75, 9.75], [9.75, 9.75]]
    assert unpack(result.arrays["b"]).tolist() == [10.75]
    for metrics in (result.train_metrics_clientapp, result.evaluate_metrics_clientapp):
        assert {number: record["loss"] for number, record in metrics.items()} == pytest.approx(
            dict.fromkeys((1, 2, 3), 0.2)  # (1 * 0.5 + 3 * 0.1) / 4
        )


def test_a_reply_names_its_sender_and_its_request(hub: Hub) -> None:
    hub.start()
    message = hub.message(number=5)
    (reply,) = hub.ask(message)
    about = reply.metadata
    assert (about.src_node_id, about.dst_node_id) == (hub.node_id(), 1)
    assert about.reply_to_message_id == message.metadata.message_id != ""
    assert (about.run_id, about.group_id, about.message_type) == (RUN_ID, "5", "train")
    assert reply.content == message.content


def test_a_message_reaches_the_app_as_it_was_sent(hub: Hub) -> None:
    seen: list[Message] = []

    def work(message: Message) -> RecordDict:
        seen.append(message)
        return RecordDict()

    hub.start(worker=Worker(work))
    config = ConfigRecord({"lr": 0.1, "names": ["a", "b"]})
    hub.ask(hub.message(RecordDict({"arrays": pack({"a": np.arange(4)}), "config": config}), number=2))
    (message,) = seen
    assert message.content == RecordDict({"arrays": pack({"a": np.arange(4)}), "config": config})
    about = message.metadata
    assert (about.src_node_id, about.dst_node_id, about.group_id) == (1, hub.node_id(), "2")


def test_broadcast_arrays_are_encoded_once(hub: Hub) -> None:
    for name in ("north", "south"):
        hub.start(name)
    record = pack({"a": np.ones(10)})
    contents = [RecordDict({"arrays": record, "config": ConfigRecord({"partition": i})}) for i in range(2)]
    ids = hub.grid.push_messages([hub.message(contents[0], "north"), hub.message(contents[1], "south")])
    first, second = (hub.grid._open[message_id][1].message for message_id in ids)
    assert first.arrays is second.arrays
    assert first.request_id != second.request_id


def test_one_record_under_two_names_is_two_encodings(hub: Hub) -> None:
    hub.start()
    record = pack({"a": np.ones(2)})
    replies = hub.ask(*[hub.message(RecordDict({name: record}), number=i) for i, name in enumerate("xy")])
    assert [list(reply.content) for reply in replies] == [["x"], ["y"]]


def test_the_reply_to_a_pushed_message_can_be_pulled_once(hub: Hub) -> None:
    node = hub.start()
    node.worker.gate.clear()
    message_ids = list(hub.grid.push_messages([hub.message(number=1)]))
    assert node.worker.begun.wait(HANG_S)
    assert list(hub.grid.pull_messages(message_ids)) == []
    node.worker.gate.set()
    replies: list[Message] = []

    def pull() -> bool:
        replies.extend(hub.grid.pull_messages(message_ids))
        return bool(replies)

    hub.wait_until(pull)
    assert [reply.metadata.reply_to_message_id for reply in replies] == message_ids
    assert list(hub.grid.pull_messages([*message_ids, "unknown"])) == []


def test_a_transfer_is_counted_in_bytes_and_seconds(hub: Hub) -> None:
    hub.start(worker=Worker(lambda _: RecordDict({"m": MetricRecord({"loss": 1.0})})))
    content = RecordDict({"arrays": pack({"a": np.zeros(300_000, np.uint8)})})
    (reply,) = hub.ask(hub.message(content))
    transfer = hub.grid.transfer(reply)
    assert transfer is not None
    assert 300_000 < transfer.bytes_down < 300_400
    assert 10 < transfer.bytes_up < 300
    assert 0 < transfer.seconds < HANG_S
    hub.ask(hub.message(number=2))
    # Only the transfers of the latest exchange are kept.
    assert hub.grid.transfer(reply) is None


def test_equal_messages_to_one_node_are_worked_on_once_and_each_answered(hub: Hub) -> None:
    node = hub.start()
    first, second = hub.ask(hub.message(), hub.message())
    assert first.metadata.reply_to_message_id != second.metadata.reply_to_message_id
    assert first.content == second.content
    assert node.worker.asked == ["1"]


def test_an_exception_of_the_app_becomes_an_error_reply_and_the_node_survives(
    hub: Hub, log: io.StringIO
) -> None:
    def work(message: Message) -> RecordDict:
        if message.metadata.group_id == "1":
            raise ZeroDivisionError("no examples")
        return RecordDict()

    node = hub.start(worker=Worker(work))
    error = error_of(hub.ask(hub.message(number=1)))
    assert (error.code, error.reason) == (2, "ZeroDivisionError: no examples")
    assert "the app raised in step train" in log.getvalue()
    assert hub.ask(hub.message(number=2))[0].content == RecordDict()
    assert node.worker.asked == ["1", "2"]


def test_a_user_facing_error_is_one_line_and_keeps_its_exit_code(hub: Hub, log: io.StringIO) -> None:
    def work(_: Message) -> RecordDict:
        raise DataError("DATA_DIR=x: no such folder")

    hub.start(worker=Worker(work))
    error = error_of(hub.ask(hub.message(number=3)))
    assert (error.code, error.reason) == (102, "DATA_DIR=x: no such folder")
    assert 'WARNING request failed round=3 step=train reason="DATA_DIR=x: no such folder"\n' in log.getvalue()
    assert "Traceback" not in log.getvalue()


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (None, "the app returned NoneType, expected a Message"),
        (
            RecordDict({"c": ConfigRecord({"x": 2**64})}),
            "a reply that cannot be sent: Value out of range: 18446744073709551616",
        ),
        (
            RecordDict({"a": ArrayRecord({"a": Array("float32", (1,), "torch", b"")})}),
            "a reply that cannot be sent: serialization 'torch', expected 'numpy.ndarray'",
        ),
    ],
)
def test_an_invalid_reply_of_the_app_becomes_an_error_reply(answer: object, reason: str, hub: Hub) -> None:
    hub.start(worker=Worker(lambda _: answer))
    error = error_of(hub.ask())
    assert (error.code, error.reason) == (2, reason)


def test_an_error_text_that_is_not_valid_unicode_is_still_sent(hub: Hub) -> None:
    def work(_: Message) -> RecordDict:
        raise OSError("name \ud800")

    hub.start(worker=Worker(work))
    assert error_of(hub.ask()).reason == r"OSError: name \ud800"


def test_a_message_type_that_the_app_does_not_know_becomes_an_error_reply(hub: Hub) -> None:
    hub.start()
    message = Message(RecordDict(), hub.node_id(), "train.unknown", group_id="1")
    assert error_of(hub.ask(message)).reason == "ValueError: No train function registered with name 'unknown'"


def test_a_request_that_carries_an_error_does_not_reach_the_app() -> None:
    worker = Worker()
    request = Received(pb.Header(message_type="train", group_id="1"), Error(9, "from a server"))
    assert call_app(worker.app, request, node_id=2) == Error(2, "a request that carries an error")
    assert worker.asked == []


def test_an_unknown_node_is_given_up_at_once(hub: Hub) -> None:
    assert hub.ask(Message(RecordDict(), 99, MessageType.TRAIN)) == []


def test_if_one_message_cannot_be_sent_none_is(hub: Hub) -> None:
    node = hub.start()
    with pytest.raises(ValueError, match="out of range"):
        hub.ask(hub.message(), hub.message(RecordDict({"c": ConfigRecord({"x": 2**64})})))
    with pytest.raises(ValueError, match="beside the arrays"):
        hub.ask(hub.message(RecordDict({"c": ConfigRecord({"x": bytes(encode.MAX_HEADER_BYTES)})})))
    assert hub.grid._open == {}
    hub.ask(hub.message(number=2))
    assert node.worker.asked == ["2"]


def test_if_a_late_message_cannot_be_sent_none_before_it_is_awaited(hub: Hub) -> None:
    hub.start()
    bad = hub.message(RecordDict({"c": ConfigRecord({"x": 2**64})}))
    with pytest.raises(ValueError, match="out of range"):
        hub.ask(*(hub.message(number=number) for number in range(100, 200)), bad)
    assert hub.grid._open == {}
    assert len(hub.ask(hub.message(number=2))) == 1
    assert not hub.server._shared.requests.awaits(hub.node_id())


def test_a_request_is_sent_once_its_node_is_ready(hub: Hub) -> None:
    node = Node(hub.address)
    hub.nodes.append(node)
    hub.wait_until(lambda: len(hub.roster.nodes()) == 1)
    assert list(hub.grid.get_node_ids()) == []
    asked = hub.ask_in_background(hub.message())
    node.serve()
    assert len(asked.get()) == 1
    assert list(hub.grid.get_node_ids()) == [hub.node_id()]


def test_a_grid_belongs_to_a_run(hub: Hub) -> None:
    assert hub.grid.run.run_id == RUN_ID
    hub.grid.set_run(empty_run(8))
    hub.start()
    (reply,) = hub.ask()
    assert reply.metadata.run_id == 8
    made = hub.grid.create_message(RecordDict(), MessageType.QUERY, 5, "3")
    about = made.metadata
    assert (about.run_id, about.dst_node_id, about.group_id, about.message_type) == (8, 5, "3", "query")


def test_a_model_is_released_at_once_when_it_is_no_longer_used(hub: Hub) -> None:
    """Without Python's collector of cycles, which may not run for many rounds."""
    models: list[weakref.ref[ArrayRecord]] = []

    def note(message: Message) -> RecordDict:
        assert message.content.metric_records == {}
        models.append(weakref.ref(message.content.array_records["arrays"]))
        return message.content

    def ask() -> None:
        message = hub.message()
        (reply,) = hub.ask(message)
        note(message)
        note(reply)

    hub.start(worker=Worker(note))
    gc.disable()
    try:
        ask()
        # The server's, the node's, and the reply's.
        assert len(models) == 3
        hub.wait_until(lambda: [model() for model in models] == [None] * 3)
    finally:
        gc.enable()


def test_flowers_views_still_check_the_values_put_into_them(hub: Hub) -> None:
    content = RecordDict({"arrays": pack({"a": np.ones(1)})})
    with pytest.raises(TypeError, match="Expected `ArrayRecord`"):
        content.array_records["other"] = MetricRecord()  # type: ignore[assignment]
    content.array_records["other"] = ArrayRecord()
    del content.array_records["arrays"]
    assert list(content) == ["other"]
