"""The number of a container among the replicas of its service."""

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedmx.replica import build_query, find_number, parse_reply

QUESTION = b"\x014\x013\x012\x011\x07in-addr\x04arpa\0\0\x0c\0\x01"


def answer(name: bytes, kind: int = 12) -> bytes:
    """Encode an answer to the question, whose name a pointer repeats."""
    return b"\xc0\x0c" + struct.pack("!HHIH", kind, 1, 600, len(name)) + name


def encode_name(text: str) -> bytes:
    return b"".join(bytes([len(part)]) + part.encode() for part in text.split(".")) + b"\0"


def reply(*answers: bytes) -> bytes:
    return struct.pack("!6H", 7, 0x8180, 1, len(answers), 0, 0) + QUESTION + b"".join(answers)


@pytest.mark.parametrize(
    ("names", "number"),
    [
        (["fedmx-supernode-2.fedmx_fleet"], 2),
        (["a.b", "my-own-supernode-12"], 12),
        (["fedmx-supernode-2-1", "fedmx-supernode-", "supernode-3"], None),
        (["fedmx-superexec-clientapp-1.fedmx_clientapps"], None),
        ([], None),
    ],
)
def test_the_number_is_the_last_part_of_a_containers_name(names: list[str], number: int | None) -> None:
    assert find_number("supernode", names) == number


def test_a_query_asks_for_the_names_of_an_address() -> None:
    assert build_query(7, "1.2.3.4") == struct.pack("!6H", 7, 0x0100, 1, 0, 0, 0) + QUESTION


def test_the_names_in_a_reply_are_those_of_its_pointers() -> None:
    names = [encode_name("fedmx-supernode-2.fedmx_fleet"), encode_name("other")]
    assert parse_reply(reply(answer(names[0]), answer(b"\0" * 4, kind=1), answer(names[1]))) == [
        "fedmx-supernode-2.fedmx_fleet",
        "other",
    ]
    assert parse_reply(reply()) == []


def test_a_name_that_points_to_itself_is_not_a_reply() -> None:
    data = reply(answer(b"\xc0\x00"))
    position = len(data) - 2
    with pytest.raises(ValueError, match="not a DNS reply"):
        parse_reply(data[:position] + struct.pack("!H", 0xC000 | position))


@given(st.binary(max_size=200))
def test_any_other_bytes_are_no_reply(data: bytes) -> None:
    try:
        assert isinstance(parse_reply(data), list)
    except ValueError as error:
        assert str(error) == "not a DNS reply"  # noqa: PT017 - bytes may be a reply
