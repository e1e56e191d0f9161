"""What a peer may send and must not achieve."""

import contextlib
import tracemalloc
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from flwr.app import ConfigRecord, MetricRecord, RecordDict
from hypothesis import given
from hypothesis import strategies as st

from fedmx.errors import ProtocolError
from fedmx.link import codec
from fedmx.link import link_pb2 as pb
from fedmx.link.assembler import Assembler
from tests.fedmx.link.wire import GIGABYTE, contents, encode, feed, pack

MIB = 1024 * 1024
Send = Callable[[Assembler], object]


def send(header: pb.Header, array_bytes: int) -> Send:
    """Send a header, having announced so many bytes of arrays."""

    def act(assembler: Assembler) -> None:
        data = header.SerializeToString()
        assembler.begin(pb.Begin(header_bytes=len(data), array_bytes=array_bytes))
        assembler.feed(data)

    return act


def of_array(dtype: str, *shape: int, **header: Any) -> pb.Header:
    record = pb.ArrayRecord(name="r", arrays=[pb.Array(name="a", dtype=dtype, shape=shape)])
    return pb.Header(array_records=[record], **header)


def fault_of(act: Send, limit: int = GIGABYTE) -> str:
    with pytest.raises(ProtocolError) as caught:
        act(Assembler(limit))
    return str(caught.value)


def peak_of(act: Callable[[], object]) -> int:
    """Give the most bytes that were allocated at a time."""
    tracemalloc.start()
    try:
        act()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("size", [0, 16 * MIB + 1, 2**64 - 1])
def test_a_header_of_a_size_beyond_the_limit_is_refused(size: int) -> None:
    fault = fault_of(lambda assembler: assembler.begin(pb.Begin(header_bytes=size)))
    assert fault == f"a header of {size} bytes; at most 16777216"


def test_arrays_beyond_the_limit_are_refused_when_they_are_announced() -> None:
    def announce(assembler: Assembler) -> None:
        assembler.begin(pb.Begin(header_bytes=10, array_bytes=1001))

    assert fault_of(announce, 1000) == "arrays of 1001 bytes; MAX_MODEL_BYTES=1000 is the limit here"


def test_nothing_is_allocated_for_what_was_only_announced() -> None:
    def announce() -> None:
        assembler = Assembler(64 * GIGABYTE)
        assembler.begin(pb.Begin(header_bytes=16 * MIB, array_bytes=37 * GIGABYTE))
        assembler.feed(bytes(100))

    assert peak_of(announce) < 100_000


@pytest.mark.parametrize(
    ("header", "announced", "fault"),
    [
        (of_array("float32", 10), 44, "arrays of 40 bytes in the header, 44 announced"),
        (
            of_array("float32", 37 * GIGABYTE),
            4,
            f"arrays of {148 * GIGABYTE} bytes in the header, 4 announced",
        ),
        (of_array("object", 1), 8, "array 'a': dtype 'object', expected numbers or bool"),
        (of_array("", 1), 0, "array 'a': dtype '', expected numbers or bool"),
        (of_array("float32", *[1] * 33), 4, "array 'a': 33 dimensions, expected at most 32"),
        (
            of_array("float32", 2**63, 2**63),
            4,
            f"array 'a': shape ({2**63}, {2**63}), expected one that fits in memory",
        ),
        (
            of_array("float32", 0, 2**63),
            0,
            f"array 'a': shape (0, {2**63}), expected one that fits in memory",
        ),
    ],
)
def test_a_header_that_declares_what_cannot_be_is_refused(
    header: pb.Header, announced: int, fault: str
) -> None:
    assert fault_of(send(header, announced)) == fault
    assert peak_of(lambda: fault_of(send(header, announced))) < 1_000_000


def test_more_arrays_than_any_model_has_are_refused() -> None:
    arrays = [pb.Array(name=str(i), dtype="bool", shape=[0]) for i in range(65_537)]
    header = pb.Header(array_records=[pb.ArrayRecord(arrays=arrays)])
    assert fault_of(send(header, 0)) == "65537 arrays; at most 65536"


@pytest.mark.parametrize(
    "header",
    [
        pb.Header(array_records=[pb.ArrayRecord(arrays=[pb.Array(name="a", dtype="bool", shape=[0])] * 2)]),
        pb.Header(array_records=[pb.ArrayRecord(name="r"), pb.ArrayRecord(name="r")]),
        pb.Header(array_records=[pb.ArrayRecord(name="r")], metric_records=[pb.Record(name="r")]),
        pb.Header(config_records=[pb.Record(name="r")], metric_records=[pb.Record(name="r")]),
    ],
    ids=["arrays", "array records", "arrays and metrics", "metrics and config"],
)
def test_two_of_one_name_are_refused(header: pb.Header) -> None:
    assert fault_of(send(header, 0)) == "two arrays or records of one name"


@pytest.mark.parametrize(
    ("record", "fault"),
    [
        ([pb.Entry(key="k", text="x")], "metric record 'm' that Flower does not take: "),
        ([pb.Entry(key="k", boolean=True)], "metric record 'm' that Flower does not take: "),
        ([pb.Entry(key="k")], "entry 'k' without a value, or twice"),
        ([pb.Entry(key="k", integer=1), pb.Entry(key="k", integer=1)], "entry 'k' without a value, or twice"),
    ],
)
def test_a_record_that_is_none_of_flowers_is_refused(record: list[pb.Entry], fault: str) -> None:
    header = pb.Header(metric_records=[pb.Record(name="m", entries=record)])
    assert fault_of(send(header, 0)).startswith(fault)


def test_chunks_belong_to_a_message() -> None:
    assert fault_of(lambda assembler: assembler.feed(b"x")) == "a chunk outside a message"


def test_a_chunk_ends_where_the_header_ends() -> None:
    def overrun(assembler: Assembler) -> None:
        assembler.begin(pb.Begin(header_bytes=3, array_bytes=4))
        assembler.feed(b"\0" * 5)

    assert fault_of(overrun) == "a chunk of 5 bytes where the header has 3 left"


@pytest.mark.parametrize(("first", "second"), [(b"", b""), (b"1234", b"56789")])
def test_chunks_fill_the_arrays_and_no_more(first: bytes, second: bytes) -> None:
    def overrun(assembler: Assembler) -> None:
        send(of_array("uint8", 8), 8)(assembler)
        assembler.feed(first)
        assembler.feed(second)

    left = 8 - len(first)
    assert fault_of(overrun) == f"a chunk of {len(second)} bytes where the arrays have {left} left"


@pytest.mark.parametrize("array_bytes", [8, 0])
def test_a_message_does_not_begin_inside_another(array_bytes: int) -> None:
    def begin_twice(assembler: Assembler) -> None:
        assembler.begin(pb.Begin(header_bytes=3, array_bytes=array_bytes))
        assembler.begin(pb.Begin(header_bytes=3))

    assert fault_of(begin_twice) == "a message began inside another one"


def test_a_message_does_not_begin_inside_anothers_arrays() -> None:
    def begin_twice(assembler: Assembler) -> None:
        send(of_array("uint8", 8), 8)(assembler)
        assembler.begin(pb.Begin(header_bytes=3))

    assert fault_of(begin_twice) == "a message began inside another one"


@pytest.mark.parametrize(
    ("data", "fault"),
    [
        (b"", "a frame of no known kind"),
        (b"\xff" * 9, "bytes that are no Frame"),
        (pb.Frame(chunk=b"1234").SerializeToString()[:-1], "bytes that are no Frame"),
        (b"\x0a\x05\x0a\x03\xff\xff\xff", "bytes that are no Frame"),  # a hello whose version is no text
    ],
)
def test_what_is_no_frame_is_refused(data: bytes, fault: str) -> None:
    with pytest.raises(ProtocolError) as caught:
        codec.parse_frame(data)
    assert str(caught.value) == fault


def test_a_header_that_is_none_is_refused() -> None:
    def garbage(assembler: Assembler) -> None:
        assembler.begin(pb.Begin(header_bytes=4))
        assembler.feed(b"\xff\xff\xff\xff")

    assert fault_of(garbage) == "bytes that are no Header"


def read(frames: list[bytes]) -> None:
    """Read frames until one is refused; every error but a ProtocolError fails the test."""
    with contextlib.suppress(ProtocolError):
        feed(Assembler(MIB), frames)


@given(
    st.lists(
        st.one_of(
            st.binary(max_size=40), st.builds(lambda b: pb.Frame(chunk=b).SerializeToString(), st.binary())
        )
    )
)
def test_random_bytes_are_refused_and_do_nothing_else(frames: list[bytes]) -> None:
    read([pb.Frame(begin=pb.Begin(header_bytes=20, array_bytes=20)).SerializeToString(), *frames])


@given(contents, st.data())
def test_a_damaged_message_is_refused_or_read_and_does_nothing_else(
    content: RecordDict, data: st.DataObject
) -> None:
    frames = list(encode(content).frames())
    for _ in range(data.draw(st.integers(1, 3))):
        which = data.draw(st.integers(0, len(frames) - 1))
        damaged = bytearray(frames[which])
        at = data.draw(st.integers(0, len(damaged) - 1))
        damaged[at : at + data.draw(st.integers(0, 2))] = data.draw(st.binary(max_size=2))
        frames[which] = bytes(damaged)
    read(frames)


def test_a_whole_message_needs_no_more_than_its_arrays_and_a_little() -> None:
    count = 8 * MIB
    content = RecordDict({"arrays": pack({"a": np.ones(count, np.uint8)}), "m": MetricRecord({"loss": 1.0})})
    frames = list(encode(content).frames())
    assert peak_of(lambda: feed(Assembler(GIGABYTE), frames)) < count + 3 * MIB


def test_an_unwanted_message_needs_no_room_for_its_arrays() -> None:
    config = ConfigRecord({"partition": 1})
    content = RecordDict({"arrays": pack({"a": np.ones(8 * MIB, np.uint8)}), "config": config})
    frames = list(encode(content).frames())
    assert peak_of(lambda: feed(Assembler(GIGABYTE, lambda _: False), frames)) < 3 * MIB
