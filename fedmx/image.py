"""Whether this program runs in the server's image, and which variables the image sets."""

from pathlib import Path

# The image's working directory has it; `Dockerfile.server` writes it.
_NAMES = Path("environment.txt")


def is_image() -> bool:
    """Return whether the program runs in the image."""
    return _NAMES.exists()


def list_names() -> list[str]:
    """Return the names of the variables that the image sets; none outside of it."""
    return _NAMES.read_text().split() if _NAMES.exists() else []
