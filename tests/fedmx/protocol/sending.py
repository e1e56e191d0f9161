"""Sends parts of messages to a decoder, and measures the memory that they take."""

import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from bench.flower_app.null_app.stopwatch import read_memory
from fedmx.errors import ProtocolError
from fedmx.protocol import link_pb2 as pb
from fedmx.protocol.decode import Assembler
from fedmx.protocol.encode import CHUNK_BYTES
from tests.fedmx.protocol.wire import GIGABYTE, open_assembler

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
