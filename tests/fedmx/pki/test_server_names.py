"""The names in the server's certificate, from those it has and those in SERVER_NAMES."""

import pytest

from fedmx.errors import SettingsError
from fedmx.pki.server_names import ALWAYS_NAMED, choose


@pytest.mark.parametrize(
    ("given", "registered", "elsewhere"),
    [
        ((), (), []),
        (("a",), (), ["a"]),
        ((), ("a", "b"), ["a", "b"]),
        (("c",), ("a", "b"), ["a", "b", "c"]),
        (("a",), ("a", "b"), ["a", "b"]),
        (("-a",), ("a", "b"), ["b"]),
        (("-a", "c"), ("a", "b"), ["b", "c"]),
        (("-2001:db8::7",), ("2001:db8::7",), []),
        (("localhost",), (), []),
    ],
)
def test_names_stay_until_they_are_removed(
    given: tuple[str, ...], registered: tuple[str, ...], elsewhere: list[str]
) -> None:
    names = choose(given, registered, registered)
    assert list(names.wanted) == [*ALWAYS_NAMED, *elsewhere]
    assert list(names.unknown) == []


def test_removing_an_unknown_name_is_reported() -> None:
    names = choose(("-nmae", "-a"), ("a", "name"), ("a", "name"))
    assert list(names.unknown) == ["nmae"]
    assert list(names.wanted) == [*ALWAYS_NAMED, "name"]


@pytest.mark.parametrize("name", ALWAYS_NAMED)
def test_a_fixed_name_cannot_be_removed(name: str) -> None:
    with pytest.raises(SettingsError, match=f"^SERVER_NAMES=-{name}: "):
        choose((f"-{name}",), (), ())


@pytest.mark.parametrize(
    ("given", "current", "change"),
    [
        ((), (*ALWAYS_NAMED, "a"), None),
        (("b", "c"), (*ALWAYS_NAMED, "a"), "names added (b, c)"),
        (("-a",), (*ALWAYS_NAMED, "a"), "names removed (a)"),
        (("-a", "b"), (*ALWAYS_NAMED, "a"), "names added (b), names removed (a)"),
    ],
)
def test_a_change_lists_added_and_removed_names(
    given: tuple[str, ...], current: tuple[str, ...], change: str | None
) -> None:
    assert choose(given, current, current).describe_change() == change
