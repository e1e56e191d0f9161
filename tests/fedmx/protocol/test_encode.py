"""Flower's records over the wire and back, in frames of at most 1 MiB."""

import itertools
import tracemalloc
from typing import Any

import numpy as np
import pytest
from flwr.app import Array, ArrayRecord, ConfigRecord, Error, MetricRecord, RecordDict
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from fedmx import arrays
from fedmx.log import printable
from fedmx.protocol import encode as codec
from fedmx.protocol import link_pb2 as pb
from fedmx.protocol.decode import Received
from tests.fedmx.protocol.wire import contents, decode, encode, feed, open_assembler, pack, unpack

MIB = 1024 * 1024
Named = dict[str, NDArray[Any]]


@given(contents)
def test_every_content_survives_the_round_trip(content: RecordDict) -> None:
    received = decode(encode(content, message_type="train"))
    assert received.content == content
    assert received.header.message_type == "train"


@given(st.integers(-(2**63), 2**63 - 1), st.text(st.characters()))
def test_an_error_survives_the_round_trip_printable_and_bounded(code: int, reason: str) -> None:
    assert decode(encode(Error(code, reason))).content == Error(code, printable(reason))


def test_an_error_of_another_sender_is_made_printable_and_bounded_too() -> None:
    header = pb.Header(error=pb.Error(code=1, reason="\x1b[2J" + "x" * 100_000))
    data = header.SerializeToString()
    frames = [pb.Frame(begin=pb.Begin(header_bytes=len(data))), pb.Frame(chunk=data)]
    nothing, received = feed(open_assembler(MIB), [frame.SerializeToString() for frame in frames])
    assert nothing is None
    assert isinstance(received, Received)
    assert isinstance(received.content, Error)
    assert received.content.reason == r"\x1b[2J" + "x" * 390 + "..."


def test_arrays_keep_their_order_and_values_keep_their_types() -> None:
    record = pack({"b": np.arange(6.0).reshape(2, 3), "a": np.zeros((0, 2), np.int8), "c": np.array(True)})
    config = ConfigRecord({"yes": True, "one": 1, "half": 0.5, "none": [], "flags": [True], "raw": [b"\xff"]})
    content = decode(encode(RecordDict({"arrays": record, "config": config}))).content
    assert isinstance(content, RecordDict)
    assert list(content.array_records["arrays"]) == ["b", "a", "c"]
    assert unpack(content.array_records["arrays"]["b"]).tolist() == [[0, 1, 2], [3, 4, 5]]
    assert repr(content.config_records["config"]) == repr(config)


def test_an_array_of_another_memory_layout_keeps_its_values() -> None:
    stored = Array(np.asfortranarray(np.arange(6, dtype=">i4").reshape(2, 3)))
    content = decode(encode(RecordDict({"arrays": ArrayRecord({"a": stored})}))).content
    assert isinstance(content, RecordDict)
    assert content.array_records["arrays"]["a"] == arrays.pack(np.arange(6, dtype=np.int32).reshape(2, 3))


@pytest.mark.parametrize("count", [MIB - 65, MIB - 64, MIB - 63, MIB, 2 * (MIB - 64), 3 * MIB + 1])
def test_no_frame_is_larger_than_a_mebibyte(count: int) -> None:
    named: Named = {"a": np.ones(count, np.uint8), "b": np.ones(1), "c": np.ones((3, 5), np.int16)}
    config = ConfigRecord({"text": "x" * (2 * MIB + 7)})
    message = encode(RecordDict({"arrays": pack(named), "config": config}))
    sizes = [len(frame) for frame in message.frames()]
    assert max(sizes) <= codec.FRAME_BYTES == MIB
    assert len(sizes) == 1 + 3 + -(-message.arrays.size // (MIB - 64))
    assert decode(message).content == RecordDict({"arrays": pack(named), "config": config})


@pytest.mark.parametrize(("size", "waits"), [(MIB, True), (0, False)], ids=["arrays", "no bytes"])
def test_a_reply_waits_before_its_arrays(size: int, waits: bool) -> None:
    content = RecordDict({"arrays": pack({"a": np.ones(size, np.uint8)})})
    frames = list(encode(content).frames(waits=True))
    assert codec.parse_frame(frames[0]).begin.waits == waits
    assert [frame is codec.WAIT for frame in frames] == [False, *[True, False] * (5 * waits)]
    assert max(map(len, frames)) <= MIB // 4
    *nothing, received = feed(open_assembler(MIB), filter(None, frames))
    assert not any(nothing)
    assert isinstance(received, Received)
    assert received.content == content


def test_many_small_arrays_share_a_frame() -> None:
    message = encode(RecordDict({"arrays": pack({str(i): np.ones(10) for i in range(1000)})}))
    assert len(list(message.frames())) == 2


def test_one_encoding_of_arrays_serves_every_message_that_carries_them() -> None:
    record = pack({"a": np.ones(MIB, np.uint8)})
    content = RecordDict({"arrays": record})
    encoded = codec.encode_arrays(content)
    for partition in range(3):
        config = ConfigRecord({"partition": partition})
        message = codec.encode(pb.Header(), RecordDict({"arrays": record, "config": config}), encoded)
        assert message.arrays is encoded
        assert decode(message).content == RecordDict({"arrays": record, "config": config})


def test_the_chunks_of_a_small_model_are_cut_once_for_all_nodes() -> None:
    message = encode(RecordDict({"arrays": pack({"a": np.ones(MIB, np.uint8), "b": np.zeros(9)})}))
    first, second, other = (list(message.frames(left_out)) for left_out in ((), (), {0}))
    assert all(one is again for one, again in zip(first[1:], second[1:], strict=True))
    assert len(first) > len(other)


def test_nothing_of_a_large_one_is_cut_before_its_turn_to_be_written() -> None:
    message = encode(RecordDict({"arrays": pack({"a": np.ones(12 * MIB, np.uint8)})}))
    tracemalloc.start()
    try:
        assert sum(map(len, message.frames())) > 12 * MIB
        assert tracemalloc.get_traced_memory()[1] < 3 * MIB
    finally:
        tracemalloc.stop()


def test_messages_follow_each_other_on_one_stream() -> None:
    assembler = open_assembler(10 * MIB)
    for number in range(3):
        content = RecordDict({"arrays": pack({"a": np.full(MIB, number, np.uint8)})})
        results = feed(assembler, encode(content).frames())
        assert [result.content for result in results if isinstance(result, Received)] == [content]
        assert assembler.is_idle


def test_an_unwanted_message_is_read_to_its_end_and_not_stored() -> None:
    wanted = encode(RecordDict({"arrays": pack({"a": np.ones(MIB, np.uint8)})}), request_id="wanted")
    other = encode(RecordDict({"arrays": pack({"a": np.zeros(3 * MIB, np.uint8)})}), request_id="other")
    empty = encode(RecordDict(), request_id="empty")
    assembler = open_assembler(10 * MIB, is_wanted=lambda header, _: header.request_id == "wanted")
    results = feed(assembler, itertools.chain(other.frames(), empty.frames(), wanted.frames()))
    assert [r.request_id for r in results if isinstance(r, Received)] == ["wanted"]
    assert len(results) == 5 + 1 + 3


def test_equal_requests_have_equal_ids() -> None:
    def make() -> RecordDict:
        config = ConfigRecord({"partition": 1, "lr": 0.1})
        return RecordDict({"arrays": pack({"a": np.ones(3)}), "config": config})

    one, other = (encode(make(), run_id=1, group_id="2", message_type="train") for _ in range(2))
    assert one.request_id == other.request_id
    assert len(one.request_id) == 64


def test_requests_that_differ_in_anything_have_different_ids() -> None:
    header = {"run_id": 1, "group_id": "2", "message_type": "train"}
    named = {"a": np.array([1, 2], np.int32)}
    config = {"partition": 1, "seed": 0}
    variants: list[tuple[dict[str, Any], Named, dict[str, Any]]] = [
        (header, named, config),
        (header | {"run_id": 2}, named, config),
        (header | {"group_id": "3"}, named, config),
        (header | {"message_type": "evaluate"}, named, config),
        (header, {"a": np.array([1, 3], np.int32)}, config),
        (header, {"b": np.array([1, 2], np.int32)}, config),
        (header, {"a": np.array([[1, 2]], np.int32)}, config),
        (header, {"a": np.array([1, 2], np.uint32)}, config),
        (header, {"a": np.array([1], np.int32), "b": np.array([2], np.int32)}, config),
        (header, named, config | {"partition": 2}),
        (header, named, config | {"partition": "1"}),
        (header, named, {"partition": 1}),
    ]
    ids = [
        encode(RecordDict({"arrays": pack(n), "config": ConfigRecord(c)}), **h).request_id
        for h, n, c in variants
    ]
    assert len(set(ids)) == len(variants)


def test_a_reply_keeps_the_id_of_its_request() -> None:
    assert encode(RecordDict({"m": MetricRecord({"loss": 1.0})}), request_id="r").request_id == "r"


@pytest.mark.parametrize(
    ("record", "expected"),
    [
        (ConfigRecord({"big": 2**63}), "9223372036854775808"),
        (MetricRecord({"big": [1, -(2**63) - 1]}), "-9223372036854775809"),
        (ConfigRecord({"text": "\ud800"}), "surrogates not allowed"),
    ],
)
def test_a_value_that_the_wire_cannot_carry_is_refused_by_the_sender(
    record: ConfigRecord | MetricRecord, expected: str
) -> None:
    with pytest.raises(ValueError, match=expected):
        encode(RecordDict({"record": record}))


def test_records_too_large_for_a_header_are_refused_by_the_sender() -> None:
    with pytest.raises(ValueError, match=r"^records of \d{7} bytes beside the arrays; at most 4194304$"):
        encode(RecordDict({"config": ConfigRecord({"raw": bytes(4 * MIB)})}))


def test_an_array_of_another_library_is_refused_by_the_sender() -> None:
    array = Array("float32", (1,), "torch.tensor", b"")
    with pytest.raises(ValueError, match=r"^serialization 'torch.tensor', expected 'numpy.ndarray'$"):
        codec.encode_arrays(RecordDict({"arrays": ArrayRecord({"a": array})}))
