"""`python -S -m fedmx.probe [HEALTH_FILE]`: whether this machine's server answers, as an exit code.

It uses the standard library alone, to start fast, and checks more than an open port: a process that was
stopped by a signal still has one. Once the server has answered, the probe writes to the file that the
supervisor created for this start of the server, so that further health checks only test the file's size.
"""

import contextlib
import os
import socket
import ssl
import sys

from fedmx.errors import SettingsError
from fedmx.settings import ServerSettings, load

_TIMEOUT_S = 2.0
# RFC 9113, 3.4: each side begins with a frame of the type SETTINGS; this one is empty.
_SETTINGS = 4
# RFC 8446, 5.1: the type of a record.
_HANDSHAKE = 22
_PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\0\0\0\4\0\0\0\0\0"


def is_serving(host: str, port: int, *, by_tls: bool) -> bool:
    """Whether a server greets as HTTP/2 does, on which gRPC is built, or answers a TLS handshake."""
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
    """Return the first message of a handshake, which needs no certificate yet."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    # The probe sends nothing that needs protection.
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.set_alpn_protocols(["h2"])
    outgoing = ssl.MemoryBIO()
    with contextlib.suppress(ssl.SSLWantReadError):
        context.wrap_bio(ssl.MemoryBIO(), outgoing).do_handshake()
    return outgoing.read()


def _open_health_file(path: str) -> int | None:
    """Open the file without creating it: where there is none, the supervisor has no running program."""
    try:
        return os.open(path, os.O_WRONLY)
    except OSError:
        return None


def main() -> int:
    """Check the server at LISTEN_ADDRESS."""
    try:
        settings = load(ServerSettings)
    except SettingsError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    address = settings.listen_address.reachable_locally()
    # Opened before the check: if the server ends meanwhile, this is not the file of its next start.
    health_file = _open_health_file(sys.argv[1]) if sys.argv[1:] else None
    if not is_serving(address.host, address.port, by_tls=settings.link_security == "mtls"):
        return 1
    if health_file is not None:
        os.write(health_file, b"serving\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
