"""Many nodes in one process, which answer every request with one metric: `many_nodes.py PORT FIRST COUNT`."""

import asyncio
import sys

import grpc.aio
from flwr.app import ConfigRecord, MetricRecord, RecordDict

from fedmx.link import channel, open_files
from fedmx.protocol import control, encode
from fedmx.protocol import link_pb2 as pb
from fedmx.protocol.control import Hello

_OPTIONS = [*channel.options(encode.FRAME_BYTES), ("grpc.use_local_subchannel_pool", 1)]
_REPLY = RecordDict({"metrics": MetricRecord({"loss": 1.0})})


async def take_part(port: int, number: int) -> None:
    """Join, and answer until the stream ends."""
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}", options=_OPTIONS) as connection:
        join: grpc.aio.StreamStreamMultiCallable[bytes, bytes] = connection.stream_stream(channel.METHOD)
        stream = join()
        name = f"node-{number}"
        await stream.write(control.build_hello(Hello(name, is_name_given=True, max_model_bytes=2**20)))
        while isinstance(data := await stream.read(), bytes):
            if encode.read_chunk(data) is not None:
                continue
            frame = encode.parse_frame(data)
            kind = frame.WhichOneof("kind")
            if kind == "welcome":
                await stream.write(control.build_ready(ConfigRecord()))
            elif kind == "begin":
                for reply in _reply_to(pb.Header.FromString(frame.begin.header)):
                    await stream.write(reply)
            elif kind == "goodbye":
                return


def _reply_to(request: pb.Header) -> list[bytes]:
    header = pb.Header(
        request_id=request.request_id,
        message_type=request.message_type,
        group_id=request.group_id,
        run_id=request.run_id,
    )
    return list(encode.encode(header, _REPLY, encode.NO_ARRAYS).frames())


async def main(port: int, first: int, count: int) -> None:
    """Run the nodes until the server says goodbye."""
    open_files.make_room_for_connections()
    await asyncio.gather(*(take_part(port, number) for number in range(first, first + count)))


if __name__ == "__main__":
    asyncio.run(main(*map(int, sys.argv[1:])))
