"""Why a server that can be reached cannot be talked to: what TLS says, which gRPC does not pass on.

gRPC tells a node whose certificate was refused, or that speaks TLS to a server that does not, no more than
that the socket was closed. A handshake of Python's own finds out.
"""

import socket
import ssl

from fedmx.pki.credentials import Credentials
from fedmx.values import Address

_TIMEOUT_S = 2.0
_LONGEST_ANSWER = 8192  # of a proxy
_WAY_OUT = (
    "a bundle of the server's federation: write one with `make bundle` on the server's machine, and start"
    " clients with it by `make client BUNDLE=FOLDER`"
)
# What OpenSSL says of bytes that are no record of TLS.
_NO_TLS = ("WRONG_VERSION_NUMBER", "HTTP_REQUEST", "RECORD_LAYER_FAILURE", "PACKET_LENGTH_TOO_LONG")


def find_fault(address: Address, own: Credentials | None, proxy: Address | None = None) -> str | None:
    """Say what is wrong with TLS between this program and a server, or give None.

    Args:
        address: the server's.
        own: what this program shows; None where it speaks in plain.
        proxy: an HTTP proxy to dial through.
    """
    try:
        with _connect(address, proxy) as connection:
            connection.settimeout(_TIMEOUT_S)
            return _try_tls(connection, address.host, own) if own else _look_for_tls(connection)
    except (OSError, ValueError):  # the second of a host that no resolver takes
        return None  # not reached, or broken before anything was said: no word on TLS


def _try_tls(connection: socket.socket, host: str, own: Credentials) -> str | None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.load_verify_locations(cadata=own.authority.decode())
    context.load_cert_chain(*own.paths)
    context.set_alpn_protocols(["h2"])
    try:
        stream = context.wrap_socket(connection, server_hostname=host)
    except ssl.SSLCertVerificationError as error:
        return _explain(error.verify_message, host, own)
    except (ssl.SSLEOFError, ssl.SSLZeroReturnError):
        return None  # the server ended meanwhile
    except ssl.SSLError as error:
        if error.reason in _NO_TLS:
            return "the server does not speak TLS; expected one LINK_SECURITY on both sides"
        return f"the handshake fails ({error.reason}); expected a server of this project, and nothing between"
    with stream:
        if _speaks(stream):
            return None
    return (
        f"the server refuses the certificate of {own.name}: it belongs to another authority, or is not in"
        f" date there; expected {_WAY_OUT}"
    )


def _explain(fault: str, host: str, own: Credentials) -> str:
    """Say what is wrong with the server's certificate, which OpenSSL did not verify."""
    if "mismatch" in fault:
        return (
            f"the server's certificate is not for {host!r}; expected that name in SERVER_NAMES on the server,"
            " or SERVER_ADDRESS with one that is"
        )
    folder = own.paths[0].parent
    if "issuer" in fault or "self" in fault:
        return (
            f"the server's certificate belongs to another authority than those in {folder} ({fault});"
            f" expected {_WAY_OUT}"
        )
    return (
        f"the server's certificate failed verification ({fault}); expected one in date, of a server of the"
        f" same authority as {folder}"
    )


def _speaks(stream: ssl.SSLSocket) -> bool:
    """Whether the server goes on after the handshake, which is over here before it has looked at what it got.

    A server of HTTP/2 speaks first. This one hangs up without a word on whoever it does not take.
    """
    try:
        return stream.recv(1) != b""
    except TimeoutError:
        return True  # it did not hang up
    except OSError:
        return False


def _look_for_tls(connection: socket.socket) -> str | None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE  # nothing is sent: all that matters is whether there is TLS
    context.set_alpn_protocols(["h2"])
    try:
        context.wrap_socket(connection).close()
    except ssl.SSLError:
        return None
    return "the server speaks TLS, and LINK_SECURITY=insecure here; expected mtls, with a site's bundle"


def _connect(address: Address, proxy: Address | None) -> socket.socket:
    nearest = proxy or address
    connection = socket.create_connection((nearest.host, nearest.port), timeout=_TIMEOUT_S)
    try:
        if proxy is not None:
            _pass(connection, address)
    except BaseException:
        connection.close()
        raise
    return connection


def _pass(connection: socket.socket, address: Address) -> None:
    """Have a proxy connect to an address."""
    connection.sendall(f"CONNECT {address} HTTP/1.1\r\nHost: {address}\r\n\r\n".encode())
    answer = b""
    while not answer.endswith(b"\r\n\r\n"):  # byte by byte: what comes behind is the server's
        if not (byte := connection.recv(1)) or len(answer) == _LONGEST_ANSWER:
            raise OSError("the proxy gives no answer")
        answer += byte
    if answer.split(b" ")[1:2] != [b"200"]:
        raise OSError("the proxy does not connect")
