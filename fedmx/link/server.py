"""The server's end of the link: a gRPC server on a thread of its own, and the sessions that it serves.

The server has hundreds of streams and no work of its own between frames, so one asyncio loop serves them all
on one thread, and their state needs no locks. A node has an app that blocks for minutes in MXNet, so a loop
on another thread serves its stream (`node_loop.py`).

Only the roster and the requests' futures are shared with the server program's main thread.
"""

import asyncio
import concurrent.futures
import contextlib
import math
import threading
import time
from collections.abc import AsyncIterator, Coroutine
from dataclasses import replace
from typing import Any

import grpc
import grpc.aio

from fedmx.array_store import ArrayStore
from fedmx.errors import SettingsError
from fedmx.event_log import EventLog
from fedmx.link import channel, farewell, session
from fedmx.link.channel import ServicerContext
from fedmx.link.farewell import Farewell
from fedmx.link.quorum import Cause
from fedmx.link.request import Request
from fedmx.link.roster import Roster
from fedmx.link.session import Session
from fedmx.link.shared import Shared
from fedmx.link.watch import Watch
from fedmx.pki.access import PeerVerifier
from fedmx.protocol import control, encode
from fedmx.protocol import link_pb2 as pb
from fedmx.values import Address

# Sessions that wait for a hello. A node sends its own at once.
_MAX_GREETING = 64
# gRPC's own tasks outlive its stop by a moment.
_LAST_TASKS_TIMEOUT_S = 0.5


class LinkServer:
    """Serves the link on one address.

    Args:
        address: where to listen.
        roster: is notified of every node that joins, gets ready or leaves.
        max_model_bytes: the largest set of arrays accepted from a node.
        lease_grace_s: how long a node whose stream broke may take to reconnect before it is given up.
        store: receives the arrays of replies; by default, all stay in memory.
        stall_timeout_s: how long a transfer may make no progress before its stream is ended.
        task_options: TASK_OPTIONS, a JSON object that every welcome contains.
        verifier: decides by certificate who may join; None is plain text.
        events: records who joins, leaves and is refused; None to record nothing.
    """

    def __init__(  # noqa: PLR0913 - independent of each other, and named where it is called
        self,
        address: Address,
        roster: Roster,
        *,
        max_model_bytes: int,
        lease_grace_s: float,
        stall_timeout_s: float = math.inf,
        store: ArrayStore | None = None,
        task_options: str = "{}",
        verifier: PeerVerifier | None = None,
        events: EventLog | None = None,
    ) -> None:
        self.address = address
        self.roster = roster
        self.store = store or ArrayStore()
        self._shared = Shared(
            roster,
            max_model_bytes,
            lease_grace_s,
            stall_timeout_s,
            self.store,
            task_options,
            verifier,
            events,
        )
        # In the order in which they were opened.
        self._sessions: dict[Session, None] = {}
        # Those that may still wait for a hello.
        self._greeting: dict[Session, None] = {}
        self._watch = Watch(self._sessions, self._shared)
        self._is_stopping = False
        self._goodbye: bytes | None = None
        self._farewell = Farewell(session.GOODBYE_TIMEOUT_S)
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run_loop, name="link", daemon=True)
        self._grpc: grpc.aio.Server
        self._watching: asyncio.Task[None]

    def start(self) -> None:
        """Listen.

        Raises:
            SettingsError: the address cannot be listened on.
        """
        self._thread.start()
        try:
            channel.check_listening(self.address)
            self._call(self._start())
        except SettingsError:
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join()
            raise

    def stop(
        self,
        outcome: "pb.Goodbye.Outcome | None",
        reason: str = "",
        *,
        result: str = "",
        linger_s: float = 0.0,
    ) -> None:
        """Send every node a goodbye, if there is an outcome to announce, and close all streams.

        A node on a slow line may have to receive some megabytes before its goodbye, for which there is time.

        Args:
            outcome: of the run.
            reason: of a failure.
            result: the federation's result of the last round, in JSON.
            linger_s: how long to stay, for nodes that connect only now.
        """
        goodbye = None if outcome is None else control.build_goodbye(outcome, reason, result)
        limit_s = linger_s + farewell.LIMIT_S + session.GOODBYE_TIMEOUT_S + 1
        with contextlib.suppress(concurrent.futures.TimeoutError):
            self._call(self._stop(goodbye, linger_s), timeout_s=limit_s)
        self._thread.join(_LAST_TASKS_TIMEOUT_S)

    def submit(self, requests: list[Request]) -> None:
        """Send requests to their nodes; each request's future receives the answer."""
        self._loop.call_soon_threadsafe(self._submit, requests)

    def withdraw(self, requests: list[Request]) -> None:
        """Stop waiting for answers; those that still arrive are dropped."""
        self._loop.call_soon_threadsafe(self._withdraw, requests)

    def _call(self, coroutine: Coroutine[Any, Any, None], timeout_s: float | None = None) -> None:
        asyncio.run_coroutine_threadsafe(coroutine, self._loop).result(timeout_s)

    def _run_loop(self) -> None:
        self._loop.run_forever()
        self._loop.close()

    async def _start(self) -> None:
        channel.quiet_broken_streams()
        options = [*channel.server_options(encode.FRAME_BYTES), ("grpc.so_reuseport", 0)]
        self._grpc = grpc.aio.server(options=options)
        join: grpc.RpcMethodHandler[bytes, bytes] = grpc.stream_stream_rpc_method_handler(self._join)
        handlers = grpc.method_handlers_generic_handler(channel.SERVICE, {channel.METHOD_NAME: join})
        self._grpc.add_generic_rpc_handlers((handlers,))
        try:
            port = self._add_port()
        except RuntimeError as error:
            raise SettingsError(f"LISTEN_ADDRESS={self.address}: cannot listen: {error}") from None
        self.address = replace(self.address, port=port)
        await self._grpc.start()
        self._watching = asyncio.create_task(self._watch.run())

    def _add_port(self) -> int:
        verifier = self._shared.verifier
        if verifier is None:
            return self._grpc.add_insecure_port(str(self.address))
        return self._grpc.add_secure_port(str(self.address), verifier.credentials.for_server())

    async def _stop(self, goodbye: bytes | None, linger_s: float) -> None:
        self._is_stopping = True
        self._goodbye = goodbye
        if goodbye is not None:
            self._farewell.find_slow(each.peer for each in self._sessions)
        for each in self._sessions:
            each.end_with(goodbye)
        await asyncio.sleep(linger_s)
        began = time.monotonic()
        await self._farewell.wait()
        self._watching.cancel()
        self._watch.report_now()
        left_s = max(0.0, session.GOODBYE_TIMEOUT_S - (time.monotonic() - began))
        stopping = asyncio.create_task(self._grpc.stop(left_s))
        # On a line that stalls, gRPC goes on waiting although it has cancelled the stream.
        await asyncio.wait({stopping}, timeout=left_s + _LAST_TASKS_TIMEOUT_S)
        rest = asyncio.all_tasks() - {asyncio.current_task()}
        if stopping.done() and rest:
            await asyncio.wait(rest, timeout=_LAST_TASKS_TIMEOUT_S)
        # Until then, gRPC uses the loop.
        stopping.add_done_callback(lambda _: self._loop.call_soon(self._loop.stop))

    async def _join(self, _: AsyncIterator[bytes], context: ServicerContext) -> None:
        """Serve one stream; gRPC calls this for each."""
        opened = Session(context, self._shared)
        self._sessions[opened] = None
        self._greeting[opened] = None
        self._make_room()
        if self._is_stopping:
            # It was opened while the others received their goodbye.
            opened.end_with(self._goodbye)
        try:
            await opened.serve()
            await self._farewell.hold(opened.peer)
        finally:
            del self._sessions[opened]
            self._greeting.pop(opened, None)

    def _make_room(self) -> None:
        """Turn away the session that has waited for a hello for longest if too many do."""
        if len(self._greeting) > _MAX_GREETING:
            self._greeting = {each: None for each in self._greeting if each.is_greeting}
        if len(self._greeting) > _MAX_GREETING:
            next(iter(self._greeting)).turn_away()

    def _submit(self, requests: list[Request]) -> None:
        for request in requests:
            member = self.roster.find(request.node_id)
            if member is None or self._shared.is_given_up(member):
                request.give_up(Cause.LOST)
                continue
            is_first = self._shared.requests.add(request)
            if is_first and member.stream is not None and member.stream.is_ready:
                member.stream.ask(request)

    def _withdraw(self, requests: list[Request]) -> None:
        for request in requests:
            member = self.roster.find(request.node_id)
            is_last = self._shared.requests.withdraw(request)
            if is_last and member is not None and member.stream is not None:
                member.stream.withdraw(request.request_id)
