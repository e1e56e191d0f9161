"""The names by which the status server may be opened.

Another website can point its own host name to this machine's address (DNS rebinding), and its pages could
then read this server's responses. Their requests still carry that name, so only known names are served.
"""

import re
from collections.abc import Collection, Iterable

from fedmx.log import printable
from fedmx.parsing import parse_ip
from fedmx.pki.server_names import ALWAYS_NAMED

_HOST = re.compile(r"(?P<host>\[[^\]]*\]|[^:\[\]]*)(:[0-9]{0,5})?")
_LONGEST_SHOWN = 80


class HostNames:
    """Decides by its Host header whether a request is meant for this server.

    Args:
        names: names and addresses, in addition to those of loopback.
    """

    def __init__(self, names: Iterable[str]) -> None:
        self._names = frozenset(map(_normalize, [*ALWAYS_NAMED, *names]))

    def find_problem(self, headers: Collection[str]) -> str | None:
        """Return why a request is refused, in one line; None if it is valid.

        Args:
            headers: the values of its Host headers; expected is one.
        """
        if len(headers) != 1:
            return f"{len(headers)} Host headers; expected 1"
        [header] = headers
        found = _HOST.fullmatch(header)
        host = _normalize(found["host"]) if found else ""
        if host and (host in self._names or _is_loopback(host)):
            return None
        shown = printable(header, _LONGEST_SHOWN)
        return f"Host: {shown}: not a name of this server; expected one of SERVER_NAMES or STATUS_NAMES"


def _normalize(host: str) -> str:
    """Return a name or an address in its canonical spelling."""
    bare = host.removeprefix("[").removesuffix("]")
    return str(parse_ip(bare) or bare.lower().removesuffix("."))


def _is_loopback(host: str) -> bool:
    address = parse_ip(host)
    return address.is_loopback if address else host.endswith(".localhost")
