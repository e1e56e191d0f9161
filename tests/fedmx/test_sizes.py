"""Sizes as text."""

import pytest

from fedmx.sizes import show_megabytes, show_setting


@pytest.mark.parametrize(
    ("size", "text"), [(2 * 1024**3, "2g"), (1536 * 1024**2, "1536m"), (1, "1m"), (100_000_001, "96m")]
)
def test_a_size_is_formatted_for_engines_and_never_rounded_down(size: int, text: str) -> None:
    assert show_setting(size) == text


@pytest.mark.parametrize(("size", "text"), [(64_236_016, "64.2 MB"), (0, "0.0 MB"), (4 * 10**9, "4000.0 MB")])
def test_a_size_in_a_message_is_in_millions_of_bytes(size: int, text: str) -> None:
    assert show_megabytes(size) == text
