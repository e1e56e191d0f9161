"""The page."""


def build_page() -> str:
    """Return the page."""
    return '<!doctype html><html lang="en"><title>fedmx</title><p>See <a href="status.json">status.json</a>.'
