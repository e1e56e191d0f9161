"""`python -S -m fedmx.probe`: whether this machine's server answers, as its exit code. Standard library only.

An engine runs it every second, so it costs little, and asks for more than an open port: a process that is
stopped still has one.
"""

import socket
import sys

from fedmx.settings import ServerSettings, load

_TIMEOUT_S = 2.0
# RFC 9113, 3.4: each side begins with a frame of SETTINGS; this one is empty.
_SETTINGS = 4
_PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\0\0\0\4\0\0\0\0\0"


def is_serving(host: str, port: int) -> bool:
    """Whether a server at this address greets as HTTP/2 does, of which gRPC is made."""
    try:
        with socket.create_connection((host, port), timeout=_TIMEOUT_S) as connection:
            connection.sendall(_PREFACE)
            header = connection.recv(9, socket.MSG_WAITALL)
    except OSError:
        return False
    return len(header) == 9 and header[3] == _SETTINGS  # noqa: PLR2004 - the size of a frame's header


def main() -> int:
    """Ask the server of LISTEN_ADDRESS."""
    address = load(ServerSettings).listen_address.as_dialled_here()
    return 0 if is_serving(address.host, address.port) else 1


if __name__ == "__main__":
    sys.exit(main())
