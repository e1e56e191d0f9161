"""What decoding allocates: little more than what arrived, and nothing for what was only announced."""

import contextlib
import math
import tracemalloc

import numpy as np
import pytest
from flwr.app import ConfigRecord, MetricRecord, RecordDict
from hypothesis import given
from hypothesis import strategies as st

from fedmx import arrays
from fedmx.errors import ProtocolError
from fedmx.protocol import link_pb2 as pb
from fedmx.protocol.encode import CHUNK_BYTES
from tests.fedmx.protocol.sending import MIB, cut, of_array, peak_of, problem_of, resident_peak_of, send
from tests.fedmx.protocol.wire import GIGABYTE, encode, feed, names, open_assembler, pack


def test_nothing_is_allocated_for_what_was_only_announced() -> None:
    def announce() -> None:
        assembler = open_assembler(64 * GIGABYTE)
        assembler.begin(pb.Begin(header_bytes=4 * MIB, array_bytes=37 * GIGABYTE))

    assert peak_of(announce) < 10_000


@pytest.mark.parametrize("shape", [(GIGABYTE,), (1024, 1024, 1024)])
def test_memory_grows_with_the_bytes_that_arrived(shape: tuple[int, ...]) -> None:
    def begin_an_array() -> None:
        assembler = open_assembler(GIGABYTE)
        send(of_array("uint8", *shape), GIGABYTE)(assembler)
        for _ in range(5):
            assembler.feed(memoryview(bytes(CHUNK_BYTES)))

    assert resident_peak_of(begin_an_array) < 12 * MIB


def test_an_array_for_which_there_is_no_memory_is_refused() -> None:
    problem = problem_of(send(of_array("uint8", 2**62), 2**62), 2**63)
    assert problem == "array 'a': no memory for its 4611686018427387904 bytes"


def test_a_message_that_is_no_longer_wanted_is_released_at_once() -> None:
    count = 8 * MIB
    content = RecordDict({"arrays": pack({"a": np.ones(count, np.uint8)})})
    *frames, last = encode(content, request_id="withdrawn").frames()
    assembler = open_assembler(GIGABYTE)
    tracemalloc.start()
    try:
        feed(assembler, frames)
        assembler.forget("another")
        assert tracemalloc.get_traced_memory()[0] > 6 * MIB
        assembler.forget("withdrawn")
        assert tracemalloc.get_traced_memory()[0] < MIB
    finally:
        tracemalloc.stop()
    assert feed(assembler, [last]) == [None]
    assert assembler.is_idle
    assert feed(assembler, encode(content).frames())[-1] is not None


def test_a_message_that_is_dropped_may_contain_anything() -> None:
    assembler = open_assembler(MIB)
    assembler.begin(pb.Begin(header_bytes=2 * MIB, array_bytes=MIB), is_kept=False)

    def read_it() -> None:
        for chunk in [*cut(b"\xff" * 2 * MIB), *cut(bytes(MIB))]:
            assert assembler.feed(chunk) is None

    # The chunks that are built here.
    assert peak_of(read_it) < 5 * MIB
    assert assembler.is_idle


heads = st.builds(
    pb.Array,
    name=names,
    dtype=st.sampled_from(sorted(arrays.DTYPES)),
    shape=st.lists(st.one_of(st.integers(0, 8), st.integers(0, 2**34)), max_size=3),
)


headers = st.builds(
    pb.Header,
    array_records=st.lists(st.builds(pb.ArrayRecord, name=names, arrays=st.lists(heads, max_size=4))),
)


@given(headers, st.integers(0, 3))
def test_memory_never_exceeds_a_multiple_of_what_was_sent(header: pb.Header, chunks: int) -> None:
    sizes = [
        math.prod(head.shape) * np.dtype(head.dtype).itemsize
        for record in header.array_records
        for head in record.arrays
    ]
    size = sum(sizes)
    sent = [header.ByteSize()]

    def receive() -> None:
        assembler = open_assembler(2**64)
        with contextlib.suppress(ProtocolError):
            send(header, min(size, 2**64 - 1))(assembler)
            for left in range(size, max(0, size - chunks * CHUNK_BYTES), -CHUNK_BYTES):
                sent.append(min(left, CHUNK_BYTES))
                assembler.feed(memoryview(bytes(sent[-1])))

    peak = resident_peak_of(receive)
    assert peak < 100 * sent[0] + 2 * sum(sent) + 8 * MIB


def test_a_complete_message_needs_little_more_memory_than_its_arrays() -> None:
    count = 8 * MIB
    content = RecordDict({"arrays": pack({"a": np.ones(count, np.uint8)}), "m": MetricRecord({"loss": 1.0})})
    frames = list(encode(content).frames())
    assert peak_of(lambda: feed(open_assembler(GIGABYTE), frames)) < count + 3 * MIB


def test_an_unwanted_message_needs_no_memory_for_its_arrays() -> None:
    config = ConfigRecord({"partition": 1})
    content = RecordDict({"arrays": pack({"a": np.ones(8 * MIB, np.uint8)}), "config": config})
    frames = list(encode(content).frames())
    assert peak_of(lambda: feed(open_assembler(GIGABYTE, is_wanted=lambda *_: False), frames)) < 3 * MIB
