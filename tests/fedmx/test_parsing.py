"""Texts of settings and their values."""

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedmx.parsing import (
    Address,
    PartitionRule,
    available_cores,
    host_names,
    integer,
    is_name,
    json_object,
    number,
    threads,
)

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
def test_an_address_is_read_and_shown_as_it_was_written(text: str, host: str, port: int) -> None:
    assert Address.parse(text) == Address(host, port)
    assert str(Address.parse(text)) == text


@given(st.ip_addresses(), ports)
def test_every_numeric_address_survives_text(ip: object, port: int) -> None:
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
        ("server:\u0661", PORT),  # a digit to Python
    ],
)
def test_what_is_no_address_is_refused_with_what_was_expected(text: str, expected: str) -> None:
    with pytest.raises(ValueError, match="expected") as caught:
        Address.parse(text)
    assert str(caught.value) == expected


@given(rules)
def test_a_partition_rule_survives_text(text: str) -> None:
    rule = PartitionRule.parse(text)
    assert PartitionRule.parse(str(rule)) == rule


def test_a_partition_rule_is_shown_as_it_was_written() -> None:
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
def test_what_is_no_partition_rule_is_refused_with_what_was_expected(text: str, expected: str) -> None:
    with pytest.raises(ValueError, match="expected") as caught:
        PartitionRule.parse(text)
    assert str(caught.value) == expected


def test_only_without_partitions_each_node_has_data_of_its_own() -> None:
    assert PartitionRule("iid").is_shared
    assert not PartitionRule("none").is_shared


@given(st.integers(-(10**17), 10**17))
def test_integers_are_read_from_their_bound_up(value: int) -> None:
    parse = integer(at_least=-5)
    if value >= -5:
        assert parse(str(value)) == value
    else:
        with pytest.raises(ValueError, match=r"^expected an integer of at least -5$"):
            parse(str(value))


@pytest.mark.parametrize("text", ["1_000", "1.0", "0x10", "\u0661", "-" + "9" * 5000, "+", ""])
def test_what_python_alone_calls_an_integer_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"^expected an integer of at least 0$"):
        integer(at_least=0)(text)


@pytest.mark.parametrize("text", [str(2**63), "9" * 5000])
def test_an_integer_that_no_message_can_carry_is_refused(text: str) -> None:
    assert integer(at_least=0)("0" * 5000 + str(2**63 - 1)) == 2**63 - 1
    with pytest.raises(ValueError, match=rf"^expected an integer of at most {2**63 - 1}$"):
        integer(at_least=0)(text)


@pytest.mark.parametrize(
    "text", ["nan", "inf", "-inf", "1e999", "x", "1,5", "1_000", "\u0661", "0x1", "1e", "."]
)
def test_numbers_are_finite(text: str) -> None:
    with pytest.raises(ValueError, match=r"^expected a number of at least 0$"):
        number(at_least=0)(text)


def test_the_bounds_of_a_number_are_kept_exactly() -> None:
    assert number(at_least=0, below=1)("0") == 0.0
    assert number(above=0)("5e-324") == 5e-324
    for parse, text in [(number(above=0), "0"), (number(below=1), "1"), (number(at_least=2), "1.999")]:
        with pytest.raises(ValueError, match=r"^expected a number "):
            parse(text)


@pytest.mark.parametrize(
    ("text", "is_one"),
    [
        ("a", True),
        ("7.b_c-D", True),
        ("a" * 64, True),
        ("a" * 65, False),
        (".a", False),
        ("", False),
        ("a b", False),
        ("a\n", False),
        ("\u00e4", False),
        ("a/b", False),
    ],
)
def test_a_name_may_stand_in_a_log_line_and_a_file_name(text: str, is_one: bool) -> None:
    assert is_name(text) is is_one


@pytest.mark.parametrize("text", ["{", "nothing", "[" * 100_000, '{"eta": ' + "9" * 5000 + "}"])
def test_what_is_no_json_is_refused_in_one_line(text: str) -> None:
    with pytest.raises(ValueError, match=r'^expected a JSON object such as {"eta": 0\.1} \(.+\)$'):
        json_object(text)


@pytest.mark.parametrize(
    ("quota", "cores"),
    [
        ("max 100000\n", 4),
        ("400000 100000\n", 4),
        ("150000 100000\n", 2),  # a core and a half: two threads
        ("50000 100000\n", 1),
        ("800000 100000\n", 4),
        ("nonsense", 4),
    ],
)
def test_cores_are_those_of_the_affinity_capped_by_the_cgroups_quota(
    quota: str, cores: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 1, 2, 3})
    (tmp_path / "cpu.max").write_text(quota)
    assert available_cores(tmp_path) == cores


@pytest.mark.parametrize(("quota", "cores"), [("-1", 4), ("400000", 4), ("150000", 2), ("50000", 1)])
def test_the_first_version_of_cgroups_has_the_quota_in_two_files(
    quota: str, cores: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 1, 2, 3})
    (tmp_path / "cpu").mkdir()
    (tmp_path / "cpu" / "cpu.cfs_quota_us").write_text(f"{quota}\n")
    (tmp_path / "cpu" / "cpu.cfs_period_us").write_text("100000\n")
    assert available_cores(tmp_path) == cores


def test_without_a_cgroup_file_cores_are_those_of_the_affinity(tmp_path: Path) -> None:
    assert available_cores(tmp_path) == len(os.sched_getaffinity(0))


def test_threads_are_a_number_or_all_cores() -> None:
    assert threads("3") == 3
    assert threads("AUTO") == available_cores()


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("a,b", ("a", "b")),
        (" FL.Example.org , 2001:DB8:0::7", ("fl.example.org", "2001:db8::7")),
        ("-old.example.org,new.example.org", ("-old.example.org", "new.example.org")),
        ("-2001:DB8:0::7", ("-2001:db8::7",)),
        ("a,A", ("a",)),
    ],
)
def test_host_names_have_one_spelling_and_a_minus_sign_removes_one(text: str, names: tuple[str, ...]) -> None:
    assert host_names(text) == names


@pytest.mark.parametrize("text", ["a,-a", "-A,a", "--a", "-", "- a", "a:80", "-a:80", "-1.2.3", "a b"])
def test_what_is_neither_added_nor_removed_is_no_host_name(text: str) -> None:
    with pytest.raises(ValueError, match="expected"):
        host_names(text)
