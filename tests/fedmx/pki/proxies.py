"""A relay between a node and its server, which may be an HTTP proxy, and proxies that never connect."""

import contextlib
import socket
import socketserver
import threading

from fedmx.values import Address


class Relay:
    """A relay to a server from another address, which accepts CONNECT if it is a proxy.

    Attributes:
        asked: the first line of each request to the proxy.
    """

    def __init__(self, host: str, port: int, *, is_proxy: bool = False) -> None:
        self._target = port
        self._is_proxy = is_proxy
        self._listener = socket.create_server((host, 0))
        self.address = Address(host, self._listener.getsockname()[1])
        self.asked: list[str] = []
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                threading.Thread(target=self._carry, args=(self._listener.accept()[0],), daemon=True).start()

    def _carry(self, near: socket.socket) -> None:
        with near, socket.create_connection(("127.0.0.1", self._target)) as far:
            if self._is_proxy:
                request = b""
                while not request.endswith(b"\r\n\r\n"):
                    request += near.recv(1)
                self.asked.append(request.decode().splitlines()[0])
                near.sendall(b"HTTP/1.1 200 Connection established\r\n\r\n")
            back = threading.Thread(target=_copy, args=(far, near), daemon=True)
            back.start()
            _copy(near, far)
            back.join()


def _copy(source: socket.socket, sink: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while data := source.recv(65536):
            sink.sendall(data)
    for end in (source, sink):
        with contextlib.suppress(OSError):
            end.shutdown(socket.SHUT_RDWR)


class Answering(socketserver.BaseRequestHandler):
    """Sends the reply of the test and closes the connection."""

    answer: bytes

    def handle(self) -> None:
        self.request.recv(4096)
        with contextlib.suppress(OSError):
            self.request.sendall(self.answer)


class Endless(socketserver.BaseRequestHandler):
    """Sends an endless reply."""

    def handle(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                self.request.sendall(b"x" * 4096)
