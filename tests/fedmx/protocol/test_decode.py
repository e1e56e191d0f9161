"""Headers, chunks and frames that break the protocol or a limit are refused, with the reason."""

import time

import pytest

from fedmx.errors import ProtocolError
from fedmx.protocol import encode as codec
from fedmx.protocol import link_pb2 as pb
from fedmx.protocol.decode import Assembler
from fedmx.protocol.encode import CHUNK_BYTES
from tests.fedmx.protocol.sending import MIB, cut, of_array, peak_of, problem_of, send
from tests.fedmx.protocol.wire import GIGABYTE


@pytest.mark.parametrize("size", [0, 4 * MIB + 1, 2**64 - 1])
def test_a_header_of_a_size_beyond_the_limit_is_refused(size: int) -> None:
    problem = problem_of(lambda assembler: assembler.begin(pb.Begin(header_bytes=size)))
    assert problem == f"a header of {size} bytes; at most 4194304"


def test_arrays_beyond_the_limit_are_refused_when_they_are_announced() -> None:
    def announce(assembler: Assembler) -> None:
        assembler.begin(pb.Begin(header_bytes=10, array_bytes=1001))

    assert problem_of(announce, 1000) == "arrays of 1001 bytes; MAX_MODEL_BYTES=1000 is the limit here"


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
