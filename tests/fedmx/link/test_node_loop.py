"""The loop of the nodes' streams, in a process whose task uses gRPC on loops of its own."""

import asyncio

import grpc
import grpc.aio
import pytest

from fedmx.link import node_loop
from tests.bounds import HANG_S


async def leave_a_server() -> None:
    # Without calls: gRPC logs those that end with their loop.
    server = grpc.aio.server()
    server.add_insecure_port("127.0.0.1:0")
    await server.start()


async def open_channel() -> grpc.aio.Channel:
    return grpc.aio.insecure_channel("127.0.0.1:1")


def test_a_loop_that_a_task_closes_too_early_is_not_logged(caplog: pytest.LogCaptureFixture) -> None:
    loop = node_loop.get()
    of_stream = asyncio.run_coroutine_threadsafe(open_channel(), loop).result(HANG_S)
    # One alone may leave nothing.
    for _ in range(30):
        asyncio.run(leave_a_server())
    asyncio.run_coroutine_threadsafe(of_stream.close(), loop).result(HANG_S)
    assert caplog.records == []
