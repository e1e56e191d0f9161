"""A TCP relay on loopback between nodes and a server, which can be cut, lose data, stall and be slow."""

import contextlib
import socket
import threading
import time
from collections.abc import Callable

from fedmx.values import Address

Watch = tuple[int, Callable[[], None]]

_PIECE = 65536
# Of each socket, so that the bytes on their way when a cable is cut are far fewer than a model.
_BUFFER = 131072


class Cable:
    """A relay from a port of its own to another, for any number of connections.

    Attributes:
        address: what nodes dial.
        is_open: whether it takes connections.
        loses_up, loses_down: whether what nodes, or the server, send is lost.
        lost_bytes: what was lost.
        carried: bytes that came in, by way: `up` to the server, `down` to the nodes.
        record: all that nodes sent, one connection after the other; None: it is not kept.
        bytes_per_s: how fast it carries each way of each connection; 0: as fast as it can.
        idle_s: it breaks a connection on which nothing came for so long, one way or the other; 0: never.
        idle_cuts: how often it did.
    """

    def __init__(self, port: int) -> None:
        self._target = port
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.address = Address("127.0.0.1", self._listener.getsockname()[1])
        self.is_open = True
        self.loses_up = self.loses_down = False
        self.lost_bytes = 0
        self.carried = {"up": 0, "down": 0}
        self.bytes_per_s = 0
        self.idle_s = 0.0
        self.idle_cuts = 0
        self.record: bytearray | None = None
        self._lock = threading.Lock()
        self._watches: dict[str, list[Watch]] = {"up": [], "down": []}
        self._flows = threading.Event()
        self._flows.set()
        self._ends: list[socket.socket] = []
        self._is_closed = False
        threading.Thread(target=self._accept, daemon=True).start()

    def after(self, way: str, count: int, do: Callable[[], None]) -> None:
        """Do something, once, as soon as it has carried so many bytes that way from now on.

        The bytes that reach the count are carried after it was done, if they still can be.
        """
        with self._lock:
            self._watches[way].append((self.carried[way] + count, do))

    def cut(self) -> None:
        """Break what is connected now."""
        ends, self._ends = self._ends, []
        for end in ends:
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)

    def stall(self, seconds: float) -> None:
        """Carry nothing, either way, for some seconds; connections are taken all the same."""
        self._flows.clear()
        timer = threading.Timer(seconds, self._flows.set)
        timer.daemon = True
        timer.start()

    def flow(self) -> None:
        """Carry bytes again after a stall."""
        self._flows.set()

    def close(self) -> None:
        """Break it for good."""
        self._is_closed = True
        self._flows.set()
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self.cut()

    def _accept(self) -> None:
        with self._listener, contextlib.suppress(OSError):
            while not self._is_closed:
                near, _ = self._listener.accept()
                far = self._reach()
                if far is None:
                    near.close()
                    continue
                self._ends += [near, far]
                for way, source, sink in (("up", near, far), ("down", far, near)):
                    threading.Thread(target=self._carry, args=(way, source, sink), daemon=True).start()

    def _reach(self) -> socket.socket | None:
        """Connect to the target, unless the cable is closed or no program listens there."""
        if not self.is_open:
            return None
        try:
            return socket.create_connection(("127.0.0.1", self._target))
        except OSError:
            return None

    def _carry(self, way: str, source: socket.socket, sink: socket.socket) -> None:
        with contextlib.suppress(OSError), source:
            try:
                self._pass_on(way, source, sink)
            finally:
                sink.shutdown(socket.SHUT_RDWR)

    def _pass_on(self, way: str, source: socket.socket, sink: socket.socket) -> None:
        for end, option in ((source, socket.SO_RCVBUF), (sink, socket.SO_SNDBUF)):
            end.setsockopt(socket.SOL_SOCKET, option, _BUFFER)
        if self.idle_s:
            source.settimeout(self.idle_s)
        while data := self._receive(source):
            self._count(way, len(data))
            if self.record is not None and way == "up":
                self.record += data
            self._flows.wait()
            if self.bytes_per_s:
                time.sleep(len(data) / self.bytes_per_s)
            if self.loses_up if way == "up" else self.loses_down:
                self.lost_bytes += len(data)
            else:
                sink.sendall(data)

    def _receive(self, source: socket.socket) -> bytes:
        while True:
            try:
                return source.recv(_PIECE)
            except TimeoutError:
                if self.idle_s:
                    self.idle_cuts += 1
                    return b""

    def _count(self, way: str, count: int) -> None:
        with self._lock:
            self.carried[way] += count
            reached = [watch for watch in self._watches[way] if watch[0] <= self.carried[way]]
            self._watches[way] = [watch for watch in self._watches[way] if watch not in reached]
        for _, do in reached:
            do()
