"""A task without load_data()."""


def build_model() -> None:
    """Build nothing."""
