"""Whether a node can work beside the others of a federation: plain functions of what nodes describe."""

from typing import TypeGuard

from flwr.app import ConfigRecord

_LABELS = "labels-sha256"
UNDECIDED = "needs-schema"
"""In a description: the node's model depends on what the sites agree on before round 1."""

# How many classes an evaluation counts.
_CLASSES = "classes"
_COMMON = ("task", "metrics", "train-metrics", "arrays", _LABELS)


def find_difference(description: ConfigRecord, reference: ConfigRecord, *, is_shared: bool) -> str | None:
    """Return how a node differs from the federation; None if it does not.

    Args:
        description: how the node describes itself.
        reference: how the federation's nodes describe themselves.
        is_shared: whether all nodes divide one dataset; then its labels must agree.
    """
    is_undecided = bool(description.get(UNDECIDED)) and "arrays" not in description
    for key in ("task",) if is_undecided else _COMMON:
        if key == _LABELS and not is_shared:
            continue
        if key not in description:
            return f"its {key} is missing"
        ours = reference.get(key)
        theirs = description[key]
        if ours != theirs:
            return f"its {key} is {_first_difference(theirs, ours)}"
    # The description of a resumed run does not include it.
    if is_undecided or reference.get(_CLASSES) in (None, description.get(_CLASSES)):
        return None
    return f"its {_CLASSES} is {_first_difference(description.get(_CLASSES), reference[_CLASSES])}"


def identity_of(description: ConfigRecord) -> dict[str, str | list[str]]:
    """Return the part of a description that all nodes of a federation have in common."""
    texts = {key: description.get(key) for key in _COMMON}
    return {key: text for key, text in texts.items() if _is_text(text)}


def _is_text(value: object) -> TypeGuard[str | list[str]]:
    return isinstance(value, str) or (
        isinstance(value, list) and all(isinstance(item, str) for item in value)
    )


def _first_difference(theirs: object, ours: object) -> str:
    if not isinstance(theirs, list) or not isinstance(ours, list):
        return f"{theirs}, expected {ours}"
    for one, other in zip(theirs, ours, strict=False):
        if one != other:
            return f"{one}, expected {other}"
    return f"of {len(theirs)} entries, expected {len(ours)}"
