"""Bytes of the link: no socket, no thread."""
