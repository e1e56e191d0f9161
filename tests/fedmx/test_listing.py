"""Lists of names in messages."""

from fedmx.listing import list_names


def test_names_beyond_the_most_are_counted() -> None:
    assert list_names("abc", 3) == "a, b, c"
    assert list_names("abcde", 3) == "a, b, c and 2 more"
    assert list_names([]) == ""


def test_unprintable_characters_are_escaped() -> None:
    assert list_names(["a\nb"]) == "a\\nb"
