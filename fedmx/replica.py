"""`python -S -m fedmx.replica SERVICE`: the number of this container among the replicas of a service.

Docker Compose names the containers of a service `PROJECT-SERVICE-NUMBER`, and the engine's DNS server knows
the names of an address. It uses the standard library alone, to start fast.
"""

import os
import re
import secrets
import socket
import struct
import sys

from fedmx.errors import DataError

# The engine's, in every network that Compose creates.
_DNS_SERVER = ("127.0.0.11", 53)
_TIMEOUT_S = 10.0
# RFC 1035: a pointer's type, and the class of the Internet.
_PTR, _IN = 12, 1
_HEADER = struct.Struct("!6H")
_RECORD = struct.Struct("!HHIH")
_RECURSION_DESIRED = 0x0100
_POINTER = 0xC0


def find_number(service: str, names: list[str]) -> int | None:
    """Return the number of a replica from its names, such as `fedmx-supernode-2.fedmx_fleet`."""
    pattern = re.compile(rf".+-{re.escape(service)}-(\d+)(?:\..*)?")
    found = (pattern.fullmatch(name) for name in names)
    return next((int(match[1]) for match in found if match), None)


def build_query(identity: int, address: str) -> bytes:
    """Build a DNS query for the names of an IPv4 address."""
    labels = [*reversed(address.split(".")), "in-addr", "arpa"]
    name = b"".join(bytes([len(label)]) + label.encode() for label in labels)
    question = name + b"\0" + struct.pack("!HH", _PTR, _IN)
    return _HEADER.pack(identity, _RECURSION_DESIRED, 1, 0, 0, 0) + question


def parse_reply(reply: bytes) -> list[str]:
    """Return the names in a reply.

    Raises:
        ValueError: it is not a valid reply.
    """
    try:
        _, _, questions, answers, _, _ = _HEADER.unpack_from(reply)
        position = _HEADER.size
        for _ in range(questions):
            _, position = _read_name(reply, position)
            position += 4
        names = []
        for _ in range(answers):
            _, position = _read_name(reply, position)
            kind, _, _, size = _RECORD.unpack_from(reply, position)
            position += _RECORD.size
            if kind == _PTR:
                names.append(_read_name(reply, position)[0])
            position += size
    except (struct.error, IndexError, RecursionError):
        raise ValueError("not a DNS reply") from None
    return names


def _read_name(data: bytes, position: int) -> tuple[str, int]:
    """Return a name, and the position after it."""
    labels: list[str] = []
    while size := data[position]:
        if size >= _POINTER:
            [target] = struct.unpack_from("!H", data, position)
            rest, _ = _read_name(data, target & 0x3FFF)
            return ".".join([*labels, rest]), position + 2
        labels.append(data[position + 1 : position + 1 + size].decode("ascii", "replace"))
        position += 1 + size
    return ".".join(labels), position + 1


def look_up(address: str) -> list[str]:
    """Return the names of an address.

    Raises:
        OSError: the engine's DNS server does not answer.
    """
    identity = secrets.randbits(16)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as connection:
        connection.settimeout(_TIMEOUT_S)
        connection.connect(_DNS_SERVER)
        connection.send(build_query(identity, address))
        return parse_reply(connection.recv(4096))


def main() -> None:
    """Print the number."""
    [service] = sys.argv[1:]
    # The engine writes a container's own addresses to its /etc/hosts.
    addresses = socket.gethostbyname_ex(socket.gethostname())[2]
    names = [name for address in addresses for name in look_up(address)]
    number = find_number(service, names)
    if number is None:
        raise DataError(f"{service}: not the service of this container, whose names are {names}")
    print(number)


if __name__ == "__main__":
    try:
        main()
    except (DataError, OSError, ValueError) as error:
        print(error, file=sys.stderr)
        os._exit(2)
