"""What all sessions of one server share."""

from dataclasses import dataclass, field

from fedmx.array_store import ArrayStore
from fedmx.event_log import EventLog
from fedmx.link.connections import parse_peer
from fedmx.link.member import Member, Stream
from fedmx.link.repeats import Repeats
from fedmx.link.requests import Requests
from fedmx.link.roster import Roster
from fedmx.link.turns import Turns
from fedmx.log import printable
from fedmx.pki.access import PeerVerifier, Site
from fedmx.protocol.control import Hello, check_name

_LONGEST_SITE = 80


@dataclass(frozen=True)
class Shared:
    """The state of one server that does not belong to a single session, and its limits.

    Attributes:
        roster: is notified of every node that joins, gets ready or leaves.
        max_model_bytes: the largest set of arrays accepted from a node.
        lease_grace_s: how long a node may take to reconnect before its requests are given up.
        stall_timeout_s: how long a transfer may make no progress (LINK_STALL_TIMEOUT).
        store: receives the arrays of replies.
        task_options: TASK_OPTIONS, a JSON object that every welcome contains.
        verifier: decides by certificate who may join; None is plain text.
        events: records who joins, leaves and is refused; None to record nothing.
        requests: what is asked and still awaited.
        refusals: the warnings about refused nodes.
        sending: the turns of the streams that carry requests.
        receiving: the turns of the streams that carry replies.
    """

    roster: Roster
    max_model_bytes: int
    lease_grace_s: float
    stall_timeout_s: float
    store: ArrayStore
    task_options: str = "{}"
    verifier: PeerVerifier | None = None
    events: EventLog | None = None
    requests: Requests = field(default_factory=Requests)
    refusals: Repeats = field(default_factory=Repeats)
    sending: Turns = field(default_factory=Turns)
    receiving: Turns = field(default_factory=Turns)

    def join(self, hello: Hello, site: Site | None, stream: Stream) -> tuple[Member, Stream | None]:
        """Add a node to the roster; return it, and the stream that it had before.

        Args:
            hello: the node's.
            site: the owner of its certificate.
            stream: its stream.

        Raises:
            RefusedError: its name is not valid or in use, or there are too many nodes.
        """
        # With certificates, a site cannot use the names or tokens of another site.
        name = site.name_node(hello.name) if site else hello.name
        instance = f"{site.name}/{hello.instance}" if site else hello.instance
        check_name(name)
        return self.roster.join(name, instance, stream, is_name_given=hello.is_name_given, site=site)

    def log_refusal(self, peer: str, member: Member | None, reason: str) -> None:
        """Log that a node was refused; the same reason from the same source is logged once in a while.

        Args:
            peer: the address of the other end.
            member: the node, once it has joined.
            reason: why it was refused.
        """
        node = peer if member is None else member.name
        # A program that is restarted dials from another port each time.
        source = peer.rpartition(":")[0] if member is None else member.name
        self.refusals.warn((source, reason), "refused a node", node=node, reason=reason)

    def note(
        self, event: str, peer: str, site: Site | None, member: Member | None = None, **fields: object
    ) -> None:
        """Record an event of a node, or of a stranger, in the event log.

        Args:
            event: its name.
            peer: the address of the other end, as gRPC formats it; empty if there is no stream.
            site: the owner of its certificate, if it has one.
            member: the node, once it has joined.
            fields: what else is known.
        """
        if self.events is None:
            return
        host, port = parse_peer(peer)
        self.events.note(
            event,
            source=host if member is None else member.name,
            node=None if member is None else member.name,
            site=None if site is None else printable(site.name, _LONGEST_SITE),
            serial=None if site is None else site.serial,
            address=f"[{host}]:{port}" if ":" in host else f"{host}:{port}" if host else None,
            **fields,
        )

    def is_given_up(self, member: Member) -> bool:
        """Return whether a node has been gone for longer than it may take to reconnect."""
        return self.roster.is_gone(member, self.lease_grace_s)

    def give_up_if_gone(self, member: Member) -> None:
        """End the wait for all replies of a node that did not reconnect in time."""
        if self.is_given_up(member):
            self.requests.give_up(member.node_id)
