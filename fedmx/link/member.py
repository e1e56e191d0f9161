"""A member of the federation: its name, its stream, and a snapshot of it for the rest of the program."""

import math
from dataclasses import dataclass
from typing import Protocol

from flwr.app import ConfigRecord

from fedmx.link.request import Request
from fedmx.pki.access import Site


@dataclass(frozen=True)
class NodeView:
    """A snapshot of a node.

    Attributes:
        name: unique in the federation.
        node_id: unique in the federation.
        is_present: whether its stream is up.
        description: what must agree between nodes; None while it loads its model and data.
        since: monotonic seconds of its hello, or of its leaving.
        site: the owner of its certificate; None on a link without certificates.
        device: what it trains on; empty if that is not known.
        certificate_ends: when its certificate expires, in seconds since the epoch; None without one.
    """

    name: str
    node_id: int
    is_present: bool
    description: ConfigRecord | None
    since: float
    site: str | None = None
    device: str = ""
    certificate_ends: float | None = None

    @property
    def is_ready(self) -> bool:
        """Whether it can be sent work."""
        return self.is_present and self.description is not None

    @property
    def is_expelled(self) -> bool:
        """Whether the server no longer waits for it: it left for good, or its site lost its access."""
        return self.since == -math.inf


class Stream(Protocol):
    """What is used of a member's stream; the server's is a `Session`."""

    @property
    def is_ready(self) -> bool:
        """Whether the node can be sent work."""

    def ask(self, request: Request) -> None:
        """Send a request to the node."""

    def withdraw(self, request_id: str) -> None:
        """Notify the node that a request is no longer awaited."""

    def drop(self) -> None:
        """End the stream without a goodbye."""


@dataclass
class Member:
    """A name in the federation.

    Attributes:
        name: unique in the federation.
        node_id: unique in the federation.
        instance: the token of the process that has the name.
        since: monotonic seconds of its hello, or of its leaving; -infinity once it is no longer awaited.
        stream: through which it is reached now, if any.
        description: what must agree between nodes; None while it loads its model and data.
        site: the owner of its certificate, on a link with certificates.
        device: what it trains on; empty if that is not known.
    """

    name: str
    node_id: int
    instance: str
    since: float
    stream: Stream | None = None
    description: ConfigRecord | None = None
    site: Site | None = None
    device: str = ""

    def view(self) -> NodeView:
        """Return what the rest of the program may know of it."""
        return NodeView(
            self.name,
            self.node_id,
            self.stream is not None,
            self.description,
            self.since,
            self.site.name if self.site else None,
            self.device,
            self.site.certificate.not_valid_after_utc.timestamp() if self.site else None,
        )
