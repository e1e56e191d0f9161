"""The arrays that no node trains: which nodes have them already, so that messages to them leave these out."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from flwr.app import ArrayRecord, ConfigRecord

from fedmx import arrays
from fedmx.link.member import NodeView
from server.layout import Layout

KEY = "frozen-sha256"
"""In a description, the digest of a node's own frozen arrays; in a message's config, that of the model's."""


@dataclass(frozen=True)
class FrozenArrays:
    """The digest of the frozen arrays of a run, and of its nodes' own.

    Attributes:
        sha256: of the model's; empty if no array is frozen.
        digests: node name -> digest, as the nodes described themselves before round 1.
    """

    sha256: str = ""
    digests: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def build(
        cls, model: ArrayRecord, layout: Layout, descriptions: Mapping[str, ConfigRecord]
    ) -> "FrozenArrays":
        """Compute the digest of a model's frozen arrays, and read each node's from its description."""
        if not layout.frozen:
            return cls()
        digests = {name: str(description.get(KEY, "")) for name, description in descriptions.items()}
        return cls(arrays.sha256({name: model[name] for name in layout.frozen}), digests)

    @property
    def config(self) -> dict[str, str]:
        """The part of a message's config by which a node knows which frozen arrays to use."""
        return {KEY: self.sha256} if self.sha256 else {}

    def find_holders(self, nodes: Iterable[NodeView]) -> set[int]:
        """Return the ids of the nodes whose own frozen arrays are the model's.

        Nodes describe themselves when they join; on Flower's engines only before round 1.
        """
        return {node.node_id for node in nodes if self.sha256 and self._find_digest(node) == self.sha256}

    def _find_digest(self, node: NodeView) -> str:
        described = node.description.get(KEY) if node.description else None
        return self.digests.get(node.name, "") if described is None else str(described)
