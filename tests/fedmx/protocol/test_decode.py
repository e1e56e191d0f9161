"""Whatever a peer sends is decoded or refused, within limits of memory and time."""

import contextlib
import math
import time
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from flwr.app import ConfigRecord, MetricRecord, RecordDict
from hypothesis import given
from hypothesis import strategies as st

from bench.flower_app.null_app.stopwatch import read_memory
from fedmx import arrays
from fedmx.errors import ProtocolError
from fedmx.protocol import encode as codec
from fedmx.protocol import link_pb2 as pb
from fedmx.protocol.decode import Assembler
from fedmx.protocol.encode import CHUNK_BYTES
from tests.fedmx.protocol.wire import GIGABYTE, contents, encode, feed, names, open_assembler, pack

MIB = 1024 * 1024
Send = Callable[[Assembler], object]


def send(header: pb.Header, array_bytes: int) -> Send:
    """Announce so many bytes of arrays and send a header."""

    def act(assembler: Assembler) -> None:
        data = header.SerializeToString()
        assembler.begin(pb.Begin(header_bytes=len(data), array_bytes=array_bytes))
        for chunk in cut(data):
            assembler.feed(chunk)

    return act


def cut(data: bytes) -> list[memoryview]:
    return [memoryview(data)[start : start + CHUNK_BYTES] for start in range(0, len(data), CHUNK_BYTES)]


def of_array(dtype: str, *shape: int, **header: Any) -> pb.Header:
    record = pb.ArrayRecord(name="r", arrays=[pb.Array(name="a", dtype=dtype, shape=shape)])
    return pb.Header(array_records=[record], **header)


def problem_of(act: Send, limit: int = GIGABYTE) -> str:
    with pytest.raises(ProtocolError) as caught:
        act(open_assembler(limit))
    return str(caught.value)


def peak_of(act: Callable[[], object]) -> int:
    """Return the most bytes that were allocated at a time."""
    tracemalloc.start()
    try:
        act()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def resident_peak_of(act: Callable[[], object]) -> int:
    """Return by how many bytes this process grew at most, without memory that was reserved and never used."""
    # Resets the kernel's peak, see /proc/PID/clear_refs in proc(5).
    Path("/proc/self/clear_refs").write_text("5")
    before = read_memory("VmRSS")
    act()
    return read_memory("VmHWM") - before


@pytest.mark.parametrize("size", [0, 4 * MIB + 1, 2**64 - 1])
def test_a_header_of_a_size_beyond_the_limit_is_refused(size: int) -> None:
    problem = problem_of(lambda assembler: assembler.begin(pb.Begin(header_bytes=size)))
    assert problem == f"a header of {size} bytes; at most 4194304"


def test_arrays_beyond_the_limit_are_refused_when_they_are_announced() -> None:
    def announce(assembler: Assembler) -> None:
        assembler.begin(pb.Begin(header_bytes=10, array_bytes=1001))

    assert problem_of(announce, 1000) == "arrays of 1001 bytes; MAX_MODEL_BYTES=1000 is the limit here"


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


@pytest.mark.parametrize(
    ("header", "announced", "problem"),
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
def test_a_header_with_impossible_declarations_is_refused(
    header: pb.Header, announced: int, problem: str
) -> None:
    assert problem_of(send(header, announced)) == problem
    assert peak_of(lambda: problem_of(send(header, announced))) < 1_000_000


def test_more_arrays_than_any_model_has_are_refused() -> None:
    heads = [pb.Array(name=str(i), dtype="bool", shape=[0]) for i in range(16_385)]
    header = pb.Header(array_records=[pb.ArrayRecord(arrays=heads)])
    assert problem_of(send(header, 0)) == "16385 arrays; at most 16384"


def of_entries(*entries: pb.Entry) -> pb.Header:
    return pb.Header(config_records=[pb.Record(name="c", entries=entries)])


LONG = "expected at most 256 printable characters"


@pytest.mark.parametrize(
    ("header", "problem"),
    [
        (pb.Header(metric_records=[pb.Record()] * 1025), "1025 records; at most 1024"),
        (of_entries(*[pb.Entry()] * 16_385), "16385 entries; at most 16384"),
        (
            of_entries(*[pb.Entry(booleans=pb.Booleans(items=[True] * 32_769))] * 2),
            "65538 values in lists; at most 65536",
        ),
        (pb.Header(config_records=[pb.Record(name="c" * 257)]), f"the name '{'c' * 77}...'; {LONG}"),
        (of_entries(pb.Entry(key="\x1b[2J", integer=1)), rf"the name '\\x1b[2J'; {LONG}"),
        (of_array("bool", 0, message_type="a\nb"), rf"the name 'a\\nb'; {LONG}"),
        (pb.Header(error=pb.Error(), config_records=[pb.Record()]), "an error beside records"),
    ],
    ids=["records", "entries", "items", "long name", "control characters", "line break", "error"],
)
def test_a_header_beyond_the_limits_is_refused(header: pb.Header, problem: str) -> None:
    assert problem_of(send(header, 0)) == problem


@pytest.mark.parametrize(
    "header",
    [
        b"\x32\x00" * 2 * MIB,
        b"\x2a\x00" * 2 * MIB,
        b"\x2a\xfa\xff\xff\x01" + b"\x12\x00" * (2 * MIB - 3),
        b"\x32\xfa\xff\xff\x01" + b"\x12\x00" * (2 * MIB - 3),
    ],
    ids=["records", "array records", "arrays", "entries"],
)
def test_a_header_of_millions_of_empty_entries_is_refused_at_once(header: bytes) -> None:
    def begin(assembler: Assembler) -> None:
        assembler.begin(pb.Begin(header_bytes=len(header)))
        for chunk in cut(header):
            assembler.feed(chunk)

    started = time.process_time()
    assert "; at most " in problem_of(begin)
    assert time.process_time() - started < 3


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
def test_duplicate_names_are_refused(header: pb.Header) -> None:
    assert problem_of(send(header, 0)) == "two arrays or records with the same name"


@pytest.mark.parametrize(
    ("record", "problem"),
    [
        ([pb.Entry(key="k", text="x")], "metric record 'm' is not valid for Flower: "),
        ([pb.Entry(key="k", boolean=True)], "metric record 'm' is not valid for Flower: "),
        ([pb.Entry(key="k")], "entry 'k' has no value"),
        ([pb.Entry(key="k", integer=1), pb.Entry(key="k", integer=1)], "two entries with the same name"),
    ],
)
def test_a_record_that_flower_does_not_accept_is_refused(record: list[pb.Entry], problem: str) -> None:
    header = pb.Header(metric_records=[pb.Record(name="m", entries=record)])
    assert problem_of(send(header, 0)).startswith(problem)


def test_a_chunk_outside_a_message_is_refused() -> None:
    assert problem_of(lambda assembler: assembler.feed(memoryview(b"x"))) == "a chunk outside a message"


@pytest.mark.parametrize("count", [0, 2, 5])
def test_a_chunk_ends_where_the_header_ends(count: int) -> None:
    def miss(assembler: Assembler) -> None:
        assembler.begin(pb.Begin(header_bytes=3, array_bytes=4))
        assembler.feed(memoryview(bytes(count)))

    assert problem_of(miss) == f"a chunk of {count} bytes; expected 3"


@pytest.mark.parametrize("count", [0, 7, 9])
def test_the_last_chunk_ends_where_the_arrays_end(count: int) -> None:
    def miss(assembler: Assembler) -> None:
        send(of_array("uint8", 8), 8)(assembler)
        assembler.feed(memoryview(bytes(count)))

    assert problem_of(miss) == f"a chunk of {count} bytes; expected 8"


def test_every_other_chunk_must_be_full_so_that_few_bytes_are_few_frames() -> None:
    def dribble(assembler: Assembler) -> None:
        send(of_array("uint8", 2 * MIB), 2 * MIB)(assembler)
        assembler.feed(memoryview(b"1"))

    assert problem_of(dribble) == f"a chunk of 1 bytes; expected {CHUNK_BYTES}"


@pytest.mark.parametrize("array_bytes", [8, 0])
def test_a_message_does_not_begin_inside_another(array_bytes: int) -> None:
    def begin_twice(assembler: Assembler) -> None:
        assembler.begin(pb.Begin(header_bytes=3, array_bytes=array_bytes))
        assembler.begin(pb.Begin(header_bytes=3))

    assert problem_of(begin_twice) == "a message began inside another one"


def test_a_message_does_not_begin_inside_anothers_arrays() -> None:
    def begin_twice(assembler: Assembler) -> None:
        send(of_array("uint8", 8), 8)(assembler)
        assembler.begin(pb.Begin(header_bytes=3))

    assert problem_of(begin_twice) == "a message began inside another one"


@pytest.mark.parametrize(
    ("data", "problem"),
    [
        (b"", "a frame of unknown kind"),
        (b"\xff" * 9, "bytes that are not a Frame"),
        (pb.Frame(chunk=b"1234").SerializeToString()[:-1], "bytes that are not a Frame"),
        (b"\x0a\x05\x0a\x03\xff\xff\xff", "bytes that are not a Frame"),
    ],
)
def test_bytes_that_are_not_a_frame_are_refused(data: bytes, problem: str) -> None:
    with pytest.raises(ProtocolError) as caught:
        codec.parse_frame(data)
    assert str(caught.value) == problem


def test_bytes_that_are_not_a_header_are_refused() -> None:
    def garbage(assembler: Assembler) -> None:
        assembler.begin(pb.Begin(header_bytes=4))
        assembler.feed(memoryview(b"\xff\xff\xff\xff"))

    assert problem_of(garbage) == "bytes that are not a Header"


def read(frames: list[bytes]) -> None:
    """Decode frames until one is refused; any other error than a ProtocolError fails the test."""
    with contextlib.suppress(ProtocolError):
        feed(open_assembler(MIB), frames)


@given(
    st.lists(
        st.one_of(
            st.binary(max_size=40), st.builds(lambda b: pb.Frame(chunk=b).SerializeToString(), st.binary())
        )
    )
)
def test_random_bytes_are_refused_without_side_effects(frames: list[bytes]) -> None:
    read([pb.Frame(begin=pb.Begin(header_bytes=20, array_bytes=20)).SerializeToString(), *frames])


@given(contents, st.data())
def test_a_damaged_message_is_refused_or_decoded_without_side_effects(
    content: RecordDict, data: st.DataObject
) -> None:
    frames = list(encode(content).frames())
    for _ in range(data.draw(st.integers(1, 3))):
        which = data.draw(st.integers(0, len(frames) - 1))
        damaged = bytearray(frames[which])
        at = data.draw(st.integers(0, len(damaged)))
        damaged[at : at + data.draw(st.integers(0, 2))] = data.draw(st.binary(max_size=2))
        frames[which] = bytes(damaged)
    read(frames)


@given(st.lists(contents, min_size=1, max_size=3), st.data())
def test_frames_lost_doubled_cut_or_out_of_order_are_refused_or_decoded_without_side_effects(
    sent: list[RecordDict], data: st.DataObject
) -> None:
    frames = [frame for content in sent for frame in encode(content).frames()]
    for _ in range(data.draw(st.integers(1, 3))):
        one, other = (data.draw(st.integers(0, len(frames) - 1)) for _ in range(2))
        what = data.draw(st.sampled_from(["lose", "double", "swap", "cut"]))
        if what == "swap":
            frames[one], frames[other] = frames[other], frames[one]
        elif what == "cut":
            frames[one] = frames[one][: data.draw(st.integers(0, len(frames[one])))]
        elif what == "double" or len(frames) == 1:
            frames.insert(other, frames[one])
        else:
            del frames[one]
    read(frames)


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
