"""Messages and frames for the tests of the wire format."""

from collections.abc import Iterable, Mapping
from typing import Any

from flwr.app import Array, ArrayRecord, ConfigRecord, Error, MetricRecord, RecordDict
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst
from numpy.typing import NDArray

from fedmx import arrays
from fedmx.array_store import ArrayStore
from fedmx.protocol import encode as codec
from fedmx.protocol import link_pb2 as pb
from fedmx.protocol.decode import Assembler, Lacking, Received
from fedmx.protocol.encode import EncodedMessage

GIGABYTE = 2**30

names = st.text(st.characters(codec="utf-8", exclude_categories=("C", "Z")), max_size=20)
integers = st.integers(-(2**63), 2**63 - 1)
numbers = st.one_of(
    integers, st.floats(allow_nan=False), st.lists(integers), st.lists(st.floats(allow_nan=False))
)
values = st.one_of(
    numbers,
    st.booleans(),
    st.text(),
    st.binary(),
    st.lists(st.booleans()),
    st.lists(st.text()),
    st.lists(st.binary()),
)


@st.composite
def array_records(draw: st.DrawFn) -> ArrayRecord:
    kinds = st.sampled_from(sorted(arrays.DTYPES))
    drawn = npst.arrays(kinds, npst.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=3))
    return pack(draw(st.dictionaries(names, drawn, max_size=3)))


records = st.one_of(
    array_records(),
    st.dictionaries(names, numbers, max_size=4).map(MetricRecord),
    st.dictionaries(names, values, max_size=4).map(ConfigRecord),
)
contents = st.dictionaries(names, records, max_size=4).map(RecordDict)


def pack(named: Mapping[str, NDArray[Any]]) -> ArrayRecord:
    return arrays.make_record({name: arrays.pack(array) for name, array in named.items()})


def unpack(array: Array) -> NDArray[Any]:
    """Return an array's values; unlike `Array.numpy()`, in several threads at once."""
    return arrays.view(array)


def encode(content: RecordDict | Error, **header: Any) -> EncodedMessage:
    encoded = codec.NO_ARRAYS if isinstance(content, Error) else codec.encode_arrays(content)
    return codec.encode(pb.Header(**header), content, encoded)


def open_assembler(limit: int = GIGABYTE, **options: Any) -> Assembler:
    """Return an assembler that keeps all arrays in memory."""
    return Assembler(limit, ArrayStore().open, **options)


def feed(assembler: Assembler, frames: Iterable[bytes]) -> list[Received | Lacking | None]:
    """Feed frames; return the result of each."""
    results = []
    for data in frames:
        chunk = codec.read_chunk(data)
        results.append(
            assembler.begin(codec.parse_frame(data).begin) if chunk is None else assembler.feed(chunk)
        )
    return results


def decode(message: EncodedMessage, limit: int = GIGABYTE) -> Received:
    *nothing, received = feed(open_assembler(limit), message.frames())
    assert not any(nothing)
    assert isinstance(received, Received)
    return received
