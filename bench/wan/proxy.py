"""A TCP proxy that is a long line: `python -m bench.wan.proxy PORT TARGET_PORT DELAY_S BYTES_PER_S`.

Each direction of each connection is a line of its own. A piece is read when the rate allows it, and written
to the other side when the delay has passed; the line holds as many bytes as a real one of its length. What is
before and after it waits in the sockets' ordinary buffers.
"""

import queue
import socket
import sys
import threading
import time

from bench.processes import Children, free_port, is_listening, wait_until
from bench.wan.line import Line, Pace

_START_S = 30.0

# At 100 Mbit/s, 1.3 ms of the line.
PIECE_BYTES = 16 * 1024

# 50 ms each way, 100 Mbit/s each way.
LONG_LINE = Line(delay_s=0.05, bytes_per_s=12.5e6)

# When a piece arrives, and its bytes; empty at the end.
_Piece = tuple[float, bytes]


def lay_line(children: Children, target_port: int) -> int:
    """Start a long line to a port of this machine; return the port at its other end."""
    port = free_port()
    delay_s, rate = LONG_LINE.delay_s, LONG_LINE.bytes_per_s
    children.start_module("line", __name__, str(port), str(target_port), str(delay_s), str(rate))
    # A connection to see whether it listens would reach the server through it.
    wait_until(lambda: is_listening(port), _START_S, "the line")
    return port


def serve(port: int, target_port: int, line: Line) -> None:
    """Accept connections until the process is ended."""
    with socket.create_server(("127.0.0.1", port)) as listener:
        while True:
            near, _ = listener.accept()
            far = socket.create_connection(("127.0.0.1", target_port))
            for one, other in ((near, far), (far, near)):
                one.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                carry(one, other, line)


def carry(source: socket.socket, sink: socket.socket, line: Line) -> None:
    """Start the two threads of one direction."""
    # A line that is full takes no more until the other end reads.
    pieces: queue.Queue[_Piece] = queue.Queue(2 * line.bytes_in_flight // PIECE_BYTES + 2)
    threading.Thread(target=_take, args=(source, pieces, line), daemon=True).start()
    threading.Thread(target=_hand_over, args=(pieces, sink), daemon=True).start()


def _take(source: socket.socket, pieces: "queue.Queue[_Piece]", line: Line) -> None:
    pace = Pace(line)
    data = b"-"
    while data:
        try:
            data = source.recv(PIECE_BYTES)
        except OSError:
            data = b""
        left_at = pace.leave(len(data), time.monotonic())
        pieces.put((left_at + line.delay_s, data))
        _sleep_until(left_at)


def _hand_over(pieces: "queue.Queue[_Piece]", sink: socket.socket) -> None:
    """Write what arrives; after an error the line is drained, so that the thread that reads can end."""
    is_open = True
    while True:
        arrives_at, data = pieces.get()
        _sleep_until(arrives_at)
        is_open = is_open and _write(sink, data)
        if not data:
            return


def _write(sink: socket.socket, data: bytes) -> bool:
    """Write a piece, or the end; return whether the other side still reads."""
    try:
        if data:
            sink.sendall(data)
        else:
            sink.shutdown(socket.SHUT_WR)
    except OSError:
        return False
    return True


def _sleep_until(moment: float) -> None:
    left_s = moment - time.monotonic()
    if left_s > 0:
        time.sleep(left_s)


def main(port: str, target_port: str, delay_s: str, bytes_per_s: str) -> None:
    """Serve one line."""
    serve(int(port), int(target_port), Line(float(delay_s), float(bytes_per_s)))


if __name__ == "__main__":
    main(*sys.argv[1:])
