"""Diagnosis of TLS: why a server that can be reached does not answer.

If a certificate is refused, or only one side uses TLS, gRPC reports only that the socket was closed. A
handshake with Python's own `ssl` finds the reason.
"""

import socket
import ssl

from fedmx.pki.credentials import Credentials
from fedmx.values import Address

_TIMEOUT_S = 2.0
# Of the header of a proxy's reply.
_MAX_REPLY_BYTES = 8192
_REMEDY = (
    "a bundle from the server's federation: write one with `make bundle` on the server's machine and start"
    " clients with it: `make client BUNDLE=FOLDER`"
)
# OpenSSL's reasons for input that is not TLS.
_NOT_TLS = ("WRONG_VERSION_NUMBER", "HTTP_REQUEST", "RECORD_LAYER_FAILURE", "PACKET_LENGTH_TOO_LONG")


def find_problem(
    address: Address, credentials: Credentials | None, proxy: Address | None = None
) -> str | None:
    """Return what is wrong with TLS between this program and a server, or None.

    Args:
        address: the server's address.
        credentials: this program's credentials; None if it does not use TLS.
        proxy: an HTTP proxy to connect through.
    """
    try:
        with _connect(address, proxy) as connection:
            connection.settimeout(_TIMEOUT_S)
            if credentials is None:
                return _detect_tls(connection)
            return _try_tls(connection, address.host, credentials)
    except (OSError, ValueError):
        # The server was not reached, or the connection broke before the handshake ended: TLS is not the
        # reason. ValueError is raised for a host name that no resolver accepts.
        return None


def _try_tls(connection: socket.socket, host: str, credentials: Credentials) -> str | None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.load_verify_locations(cadata=credentials.authority.decode())
    context.load_cert_chain(*credentials.paths)
    context.set_alpn_protocols(["h2"])
    try:
        stream = context.wrap_socket(connection, server_hostname=host)
    except ssl.SSLCertVerificationError as error:
        return _explain(error.verify_message, host, credentials)
    except (ssl.SSLEOFError, ssl.SSLZeroReturnError):
        # The server stopped during the handshake.
        return None
    except ssl.SSLError as error:
        if error.reason in _NOT_TLS:
            return "the server does not use TLS; expected the same LINK_SECURITY on both sides"
        return f"the handshake fails ({error.reason}); expected a fedmx server and no TLS proxy in between"
    with stream:
        if _is_accepted(stream):
            return None
    return (
        f"the server refuses the certificate of {credentials.name}: it belongs to another authority or is not"
        f" valid on the server's clock; expected {_REMEDY}"
    )


def _explain(reason: str, host: str, credentials: Credentials) -> str:
    """Return what is wrong with the server's certificate, which OpenSSL rejected."""
    if "mismatch" in reason:
        return (
            f"the server's certificate is not valid for {host!r}; expected that name in SERVER_NAMES on the"
            " server, or a name of the certificate in SERVER_ADDRESS"
        )
    folder = credentials.paths[0].parent
    if "issuer" in reason or "self" in reason:
        return (
            f"the server's certificate belongs to another authority than the files in {folder} ({reason});"
            f" expected {_REMEDY}"
        )
    return (
        f"the server's certificate failed verification ({reason}); expected a valid server certificate from"
        f" the same authority as the files in {folder}"
    )


def _is_accepted(stream: ssl.SSLSocket) -> bool:
    """Return whether the server accepts this program's certificate.

    In TLS 1.3 the handshake ends for the client before the server has checked the client's certificate. An
    HTTP/2 server then sends the first frame; one that refuses the certificate closes the connection.
    """
    try:
        return stream.recv(1) != b""
    except TimeoutError:
        # The server did not close the connection.
        return True
    except OSError:
        return False


def _detect_tls(connection: socket.socket) -> str | None:
    """Return a problem if the server uses TLS, which this program does not."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    # Nothing is sent over this connection, so the certificate does not matter.
    context.verify_mode = ssl.CERT_NONE
    context.set_alpn_protocols(["h2"])
    try:
        context.wrap_socket(connection).close()
    except ssl.SSLError:
        return None
    return "the server uses TLS, but LINK_SECURITY=insecure here; expected mtls and a site's bundle"


def _connect(address: Address, proxy: Address | None) -> socket.socket:
    nearest = proxy or address
    connection = socket.create_connection((nearest.host, nearest.port), timeout=_TIMEOUT_S)
    try:
        if proxy is not None:
            _open_tunnel(connection, address)
    except BaseException:
        connection.close()
        raise
    return connection


def _open_tunnel(connection: socket.socket, address: Address) -> None:
    """Ask a proxy to connect to an address.

    Raises:
        OSError: it does not.
    """
    connection.sendall(f"CONNECT {address} HTTP/1.1\r\nHost: {address}\r\n\r\n".encode())
    reply = b""
    # Byte by byte, because the bytes after the header come from the server.
    while not reply.endswith(b"\r\n\r\n"):
        byte = connection.recv(1)
        if not byte or len(reply) == _MAX_REPLY_BYTES:
            raise OSError("the proxy's reply is not complete")
        reply += byte
    if reply.split(b" ")[1:2] != [b"200"]:
        raise OSError("the proxy refused to connect")
