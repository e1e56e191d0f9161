"""Parsers of settings that are free text. Each raises a `ValueError` that names what it expected."""

from urllib.parse import urlsplit

_LONGEST_TITLE = 100
_LONGEST_NOTES = 5_000
_LONGEST_TAG = 40
_MOST_TAGS = 20
_LARGEST_PORT = 65_535


def title(text: str) -> str:
    """Parse a line of text."""
    if not text.isprintable() or len(text) > _LONGEST_TITLE:
        raise ValueError(f"expected one line of at most {_LONGEST_TITLE} printable characters")
    return text


def notes(text: str) -> str:
    """Parse a text of several lines."""
    if len(text) > _LONGEST_NOTES or not all(line.isprintable() for line in text.splitlines()):
        raise ValueError(f"expected at most {_LONGEST_NOTES} printable characters")
    return text


def tags(text: str) -> tuple[str, ...]:
    """Parse tags that are separated by commas."""
    found = tuple(dict.fromkeys(tag for part in text.split(",") if (tag := part.strip())))
    if len(found) > _MOST_TAGS or not all(tag.isprintable() and len(tag) <= _LONGEST_TAG for tag in found):
        raise ValueError(
            f"expected at most {_MOST_TAGS} tags of at most {_LONGEST_TAG} printable characters, separated by"
            " commas"
        )
    return found


def web_address(text: str) -> str:
    """Parse the address of a web server, without naming it in the error: it may contain a password."""
    try:
        parts = urlsplit(text)
        # `urlsplit` checks the port only when it is read.
        is_port = parts.port is None or 1 <= parts.port <= _LARGEST_PORT
    except ValueError:
        raise ValueError("expected an address such as https://host:port/path") from None
    is_printable = text.isascii() and text.isprintable() and " " not in text
    if parts.scheme not in ("http", "https") or not parts.hostname or not is_port or not is_printable:
        raise ValueError("expected an address such as https://host:port/path")
    return text


def server_address(text: str) -> str:
    """Parse the address of a web server below which a program finds its paths."""
    parts = urlsplit(web_address(text))
    if parts.query or parts.fragment:
        raise ValueError("expected an address such as https://host:port/path, without what follows a ? or #")
    return text


def token(text: str) -> str:
    """Parse what a header of HTTP can contain, without naming it in the error: it is a secret."""
    if not text.isascii() or not text.isprintable() or " " in text:
        raise ValueError("expected printable ASCII characters without blanks")
    return text
