"""`python -S -m fedmx.probe`: whether this machine's server answers, as its exit code. Standard library only.

An engine runs it every second, so it costs little, and asks for more than an open port: a process that is
stopped still has one.
"""

import contextlib
import socket
import ssl
import sys

from fedmx.settings import ServerSettings, load

_TIMEOUT_S = 2.0
# RFC 9113, 3.4: each side begins with a frame of SETTINGS; this one is empty.
_SETTINGS = 4
_HANDSHAKE = 22  # RFC 8446, 5.1: the type of a record
_PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\0\0\0\4\0\0\0\0\0"


def is_serving(host: str, port: int, *, by_tls: bool) -> bool:
    """Whether a server here greets as HTTP/2 does, of which gRPC is made, or answers a handshake of TLS."""
    hello = _make_client_hello() if by_tls else _PREFACE
    try:
        with socket.create_connection((host, port), timeout=_TIMEOUT_S) as connection:
            connection.sendall(hello)
            header = connection.recv(9, socket.MSG_WAITALL)
    except OSError:
        return False
    if len(header) < 9:  # noqa: PLR2004 - the size of a frame's header
        return False
    return header[0] == _HANDSHAKE if by_tls else header[3] == _SETTINGS


def _make_client_hello() -> bytes:
    """Give the first words of a handshake, which needs no certificate so far."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE  # nothing is said to whoever answers
    context.set_alpn_protocols(["h2"])
    words = ssl.MemoryBIO()
    with contextlib.suppress(ssl.SSLWantReadError):
        context.wrap_bio(ssl.MemoryBIO(), words).do_handshake()
    return words.read()


def main() -> int:
    """Ask the server of LISTEN_ADDRESS."""
    settings = load(ServerSettings)
    address = settings.listen_address.as_dialled_here()
    by_tls = settings.link_security == "mtls"
    return 0 if is_serving(address.host, address.port, by_tls=by_tls) else 1


if __name__ == "__main__":
    sys.exit(main())
