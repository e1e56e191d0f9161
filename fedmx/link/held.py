"""The arrays of the newest messages that a node received, to which the next one may refer."""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field

from flwr.app import Array, Error

from fedmx import arrays
from fedmx.protocol import control
from fedmx.protocol import link_pb2 as pb
from fedmx.protocol.control import Holding
from fedmx.protocol.decode import Received


@dataclass(frozen=True)
class Held:
    """Arrays by digest, of one run.

    Attributes:
        run_id: the run's.
        arrays: those of the newest request. They are also the request's, so they need no memory of their own
            while the app works on it.
        parts: those that are complete of a newer one, whose stream broke.
    """

    run_id: int = 0
    arrays: Mapping[bytes, Array] = field(default_factory=dict)
    parts: Mapping[bytes, Array] = field(default_factory=dict)

    @classmethod
    def of(cls, request: Received) -> "Held | None":
        """Return the arrays of a request with the digests that the server computed; None if it has none."""
        if isinstance(request.content, Error):
            return None
        held = {}
        for record in request.header.array_records:
            for head in record.arrays:
                array = request.content.array_records[record.name][head.name]
                arrays.set_digest(array, head.digest)
                held[head.digest] = array
        return cls(request.header.run_id, held) if held else None

    def with_parts(self, header: pb.Header, arrived: Collection[tuple[pb.Array, Array]]) -> "Held":
        """Return these arrays with those that have arrived of a message whose stream broke.

        Args:
            header: the message's.
            arrived: the arrays, with what the header says of each.
        """
        if not arrived:
            return self
        for head, array in arrived:
            arrays.set_digest(array, head.digest)
        parts = {head.digest: array for head, array in arrived}
        return Held(header.run_id, self.arrays if header.run_id == self.run_id else {}, parts)

    def find(self, run_id: int, digest: bytes) -> Array | None:
        """Return the array of a digest, if it belongs to this run."""
        if run_id != self.run_id:
            return None
        return self.arrays.get(digest, self.parts.get(digest))

    def build_frame(self, request_ids: Iterable[str]) -> bytes:
        """Build the frame that reports what this node has to a server that it reconnects to.

        Args:
            request_ids: the requests that the node has.
        """
        digests = self.arrays.keys() | self.parts.keys()
        return control.build_holding(Holding(self.run_id, frozenset(request_ids), frozenset(digests)))
