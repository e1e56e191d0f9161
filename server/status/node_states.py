"""The state of a node, as one word."""

from fedmx.link.member import NodeView

NODE_STATES = ("loading", "ready", "gone", "expelled")


def find_node_state(node: NodeView) -> str:
    """Return one of `NODE_STATES`."""
    if node.is_expelled:
        return "expelled"
    if not node.is_present:
        return "gone"
    return "ready" if node.is_ready else "loading"
