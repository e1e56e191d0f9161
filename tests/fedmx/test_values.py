"""Values of settings and the text they are parsed from."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedmx.values import Address, PartitionRule

HOST_PORT = "expected host:port, or [address]:port for IPv6"
PORT = "expected a port from 1 to 65535 after the last colon"

ports = st.integers(1, 65535)
rules = st.one_of(
    st.sampled_from(["iid", "none"]),
    st.floats(1e-300, 1e300).map(lambda alpha: f"dirichlet:{alpha}"),
    st.integers(1, 10**17).map(lambda k: f"labels:{k}"),
    st.integers(1, 10**17).map(lambda k: f"shards:{k}"),
)


@pytest.mark.parametrize(
    ("text", "host", "port"),
    [
        ("server:8080", "server", 8080),
        ("10.0.0.7:1", "10.0.0.7", 1),
        ("my-host.example.org:65535", "my-host.example.org", 65535),
        ("[::1]:8080", "::1", 8080),
        ("[fe80::1%eth0]:8080", "fe80::1%eth0", 8080),
    ],
)
def test_an_address_is_printed_as_it_was_written(text: str, host: str, port: int) -> None:
    assert Address.parse(text) == Address(host, port)
    assert str(Address.parse(text)) == text


@given(st.ip_addresses(), ports)
def test_every_numeric_address_is_parsed_from_its_text(ip: object, port: int) -> None:
    address = Address(str(ip), port)
    assert Address.parse(str(address)) == address


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", HOST_PORT),
        ("server", HOST_PORT),
        (":8080", HOST_PORT),
        ("::1:8080", HOST_PORT),
        ("::1", HOST_PORT),
        ("[::1]", HOST_PORT),
        ("[server]:8080", HOST_PORT),
        ("[1:2]:8080", HOST_PORT),
        ("http://server:8080", HOST_PORT),
        ("a server:8080", HOST_PORT),
        ("server:\n8080", PORT),
        ("server:", PORT),
        ("server:0", PORT),
        ("server:65536", PORT),
        ("server:-1", PORT),
        ("server:80 80", PORT),
        # A digit to Python.
        ("server:\u0661", PORT),
    ],
)
def test_an_invalid_address_is_rejected_with_what_was_expected(text: str, expected: str) -> None:
    with pytest.raises(ValueError, match="expected") as caught:
        Address.parse(text)
    assert str(caught.value) == expected


@given(rules)
def test_every_partition_rule_is_parsed_from_its_text(text: str) -> None:
    rule = PartitionRule.parse(text)
    assert PartitionRule.parse(str(rule)) == rule


def test_a_partition_rule_is_printed_as_it_was_written() -> None:
    texts = ["iid", "none", "dirichlet:0.5", "labels:5", "shards:2"]
    assert [str(PartitionRule.parse(text)) for text in texts] == texts


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("random", "expected iid, dirichlet:ALPHA, labels:K, shards:K or none"),
        ("iid:2", "expected iid, dirichlet:ALPHA, labels:K, shards:K or none"),
        ("none:", "expected iid, dirichlet:ALPHA, labels:K, shards:K or none"),
        ("IID", "expected iid, dirichlet:ALPHA, labels:K, shards:K or none"),
        ("dirichlet", "expected a number above 0 after dirichlet:"),
        ("dirichlet:0", "expected a number above 0 after dirichlet:"),
        ("dirichlet:inf", "expected a number above 0 after dirichlet:"),
        ("labels:0", "expected an integer of at least 1 after labels:"),
        ("labels:1.5", "expected an integer of at least 1 after labels:"),
        ("shards:", "expected an integer of at least 1 after shards:"),
    ],
)
def test_an_invalid_partition_rule_is_rejected_with_what_was_expected(text: str, expected: str) -> None:
    with pytest.raises(ValueError, match="expected") as caught:
        PartitionRule.parse(text)
    assert str(caught.value) == expected


def test_a_dataset_is_shared_unless_there_are_no_partitions() -> None:
    assert PartitionRule("iid").is_shared
    assert not PartitionRule("none").is_shared
