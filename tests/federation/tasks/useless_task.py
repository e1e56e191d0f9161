"""A task that forgot its data."""


def build_model() -> None:
    """Build nothing."""
