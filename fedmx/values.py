"""Settings that are more than a number or a text: `str` of a value is the text that it is parsed from."""

import re
from dataclasses import dataclass

from fedmx.parsing import integer, number, parse_ip

_ADDRESS = re.compile(r"(?:\[(?P<ipv6>[^\]]*:[^\]]*)\]|(?P<host>[A-Za-z0-9._-]+)):(?P<port>[^:]*)")
_LARGEST_PORT = 65535

OFF = "off"


@dataclass(frozen=True)
class Address:
    """A TCP endpoint; `str` returns `host:port`, with brackets around an IPv6 host."""

    host: str
    port: int

    @classmethod
    def parse(cls, text: str, least_port: int = 1) -> "Address":
        """Parse `host:port` or `[ipv6]:port`."""
        found = _ADDRESS.fullmatch(text)
        if found is None or (found["ipv6"] and parse_ip(found["ipv6"]) is None):
            raise ValueError("expected host:port, or [address]:port for IPv6")
        port = found["port"]
        if re.fullmatch("[0-9]{1,5}", port) is None or not least_port <= int(port) <= _LARGEST_PORT:
            raise ValueError(f"expected a port from {least_port} to {_LARGEST_PORT} after the last colon")
        return cls(found["ipv6"] or found["host"], int(port))

    @classmethod
    def parse_listening(cls, text: str) -> "Address":
        """Parse an address to listen on, where port 0 lets the kernel choose a free one."""
        return cls.parse(text, least_port=0)

    @classmethod
    def parse_optional(cls, text: str) -> "Address | None":
        """Parse an address to listen on, or `off` in upper or lower case."""
        if text.lower() == OFF:
            return None
        try:
            return cls.parse_listening(text)
        except ValueError as error:
            raise ValueError(f"{error}; or {OFF}") from None

    @classmethod
    def parse_peer(cls, text: str) -> "Address":
        """Parse an address to connect to, which an address for listening on all interfaces is not."""
        address = cls.parse(text)
        ip = parse_ip(address.host)
        if ip is not None and ip.is_unspecified:
            raise ValueError(
                f"{address.host} means all addresses of a machine, and only a server can listen on it;"
                " expected the server's name or address"
            )
        return address

    def reachable_locally(self) -> "Address":
        """Return the address by which programs on this machine reach a server that listens on it."""
        hosts = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - compared with, never bound to
        return Address(hosts.get(self.host, self.host), self.port)

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


@dataclass(frozen=True)
class PartitionRule:
    """How a shared dataset is divided: `iid`, `dirichlet:ALPHA`, `labels:K`, `shards:K` or `none`."""

    kind: str
    parameter: float = 0.0

    @classmethod
    def parse(cls, text: str) -> "PartitionRule":
        """Parse a rule."""
        kind, colon, parameter = text.partition(":")
        if kind in ("iid", "none") and not colon:
            return cls(kind)
        try:
            if kind == "dirichlet":
                return cls(kind, number(above=0)(parameter))
            if kind in ("labels", "shards"):
                return cls(kind, integer(at_least=1)(parameter))
        except ValueError as error:
            raise ValueError(f"{error} after {kind}:") from None
        raise ValueError("expected iid, dirichlet:ALPHA, labels:K, shards:K or none")

    @property
    def is_shared(self) -> bool:
        """Whether the nodes divide one dataset, instead of each having its own."""
        return self.kind != "none"

    def __str__(self) -> str:
        return self.kind if self.kind in ("iid", "none") else f"{self.kind}:{self.parameter}"
