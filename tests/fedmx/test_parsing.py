"""Which texts each parser accepts, and what it returns for them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedmx.cgroups import count_cores
from fedmx.parsing import (
    host_names,
    integer,
    is_name,
    json_object,
    number,
    threads,
)


@given(st.integers(-(10**17), 10**17))
def test_integers_are_accepted_from_their_bound_up(value: int) -> None:
    parse = integer(at_least=-5)
    if value >= -5:
        assert parse(str(value)) == value
    else:
        with pytest.raises(ValueError, match="at least -5"):
            parse(str(value))


@pytest.mark.parametrize("text", ["1_000", "1.0", "0x10", "\u0661", "-" + "9" * 5000, "+", ""])
def test_an_integer_in_pythons_own_notations_is_rejected(text: str) -> None:
    with pytest.raises(ValueError, match="integer of at least 0"):
        integer(at_least=0)(text)


@pytest.mark.parametrize("text", [str(2**63), "9" * 5000])
def test_an_integer_that_no_message_can_carry_is_rejected(text: str) -> None:
    assert integer(at_least=0)("0" * 5000 + str(2**63 - 1)) == 2**63 - 1
    with pytest.raises(ValueError, match=str(2**63 - 1)):
        integer(at_least=0)(text)


@pytest.mark.parametrize(
    "text", ["nan", "inf", "-inf", "1e999", "x", "1,5", "1_000", "\u0661", "0x1", "1e", "."]
)
def test_a_number_is_finite_and_in_plain_notation(text: str) -> None:
    with pytest.raises(ValueError, match="number of at least 0"):
        number(at_least=0)(text)


def test_the_bounds_of_a_number_are_exact() -> None:
    assert number(at_least=0, below=1)("0") == 0.0
    assert number(above=0)("5e-324") == 5e-324
    for parse, text in [(number(above=0), "0"), (number(below=1), "1"), (number(at_least=2), "1.999")]:
        with pytest.raises(ValueError, match="number"):
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
def test_a_name_is_safe_in_log_lines_and_file_names(text: str, is_one: bool) -> None:
    assert is_name(text) is is_one


@pytest.mark.parametrize("text", ["{", "nothing", "[" * 100_000, '{"eta": ' + "9" * 5000 + "}"])
def test_invalid_json_is_rejected_in_one_line(text: str) -> None:
    with pytest.raises(ValueError, match=r'^expected a JSON object such as {"eta": 0\.1} \(.+\)$'):
        json_object(text)


def test_auto_threads_are_all_cores() -> None:
    assert threads("3") == 3
    assert threads("AUTO") == count_cores()


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
def test_an_invalid_host_name_is_rejected(text: str) -> None:
    with pytest.raises(ValueError, match="expected"):
        host_names(text)
