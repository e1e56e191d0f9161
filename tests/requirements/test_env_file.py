"""`.env` is written again around what a user changed."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from requirements.env_file import HEADER, find_repeated, read_values, update

SECTIONS = {
    "run": [("ROUNDS", "3", "rounds"), ("SEED", "0", "seed")],
    "client": [("NAME", "", "name"), ("ARGS", "{}", "arguments")],
}
FRESH = f"""{HEADER}

# --- run
# rounds (default: 3)
ROUNDS=3
# seed (default: 0)
SEED=0

# --- client
# name (default: empty)
NAME=
# arguments (default: {{}})
ARGS={{}}
"""


def test_without_a_file_every_setting_has_its_default_and_meaning() -> None:
    assert update("", SECTIONS) == FRESH


def test_a_file_that_is_up_to_date_stays_as_it_is() -> None:
    assert update(FRESH, SECTIONS) == FRESH


@pytest.mark.parametrize(
    ("name", "line"),
    [
        ("ROUNDS", "ROUNDS=10"),
        ("ROUNDS", "ROUNDS="),
        ("ROUNDS", "export ROUNDS=10"),
        ("ROUNDS", "ROUNDS: 10"),
        ("ROUNDS", "ROUNDS=10 # for the demonstration"),
        ("NAME", "NAME=north"),
        ("ARGS", 'ARGS={"eta": 0.1}'),
        ("ARGS", "ARGS='{\n  \"eta\": 0.1,\n# SEED=3\n}'"),
        ("ARGS", 'ARGS="{\\"eta\\":\n# SEED=3\n0.1}"'),
    ],
)
def test_a_value_that_a_user_changed_stays_as_it_was_written(name: str, line: str) -> None:
    old = next(old for old in FRESH.splitlines() if old.startswith(f"{name}="))
    changed = FRESH.replace(f"\n{old}\n", f"\n{line}\n")
    assert changed != FRESH
    assert update(changed, SECTIONS) == changed


def test_a_value_that_no_user_changed_follows_a_new_default() -> None:
    newer = {**SECTIONS, "run": [("ROUNDS", "5", "rounds of training"), ("SEED", "1", "seed")]}
    changed = FRESH.replace("SEED=0", "SEED=7")
    written = update(changed, newer)
    assert "# rounds of training (default: 5)\nROUNDS=5\n" in written
    assert "# seed (default: 1)\nSEED=7\n" in written


def test_blanks_after_a_default_are_no_change() -> None:
    assert update(FRESH.replace("SEED=0\n", "SEED=0 \n"), SECTIONS) == FRESH


def test_a_setting_that_is_missing_is_written_in_its_place_and_the_order_is_restored() -> None:
    blocks = ["# rounds (default: 3)\nROUNDS=10\n", "# arguments (default: {})\nARGS={}\n"]
    for order in itertools.permutations(blocks):
        assert update("".join(order), SECTIONS) == FRESH.replace("ROUNDS=3", "ROUNDS=10")


def test_a_users_comments_stay_above_the_setting_that_they_stood_above() -> None:
    changed = FRESH.replace("# seed (default: 0)", "# agreed on in March\n# seed (default: 0)")
    assert update(changed, SECTIONS) == changed


def test_names_and_comments_of_the_users_own_stay_at_the_end() -> None:
    own = "\n# --- other names\n# scanners of the site\nX_SCANS=7\nEPOCHS=1\n# to be discussed\n"
    assert update(FRESH + own, SECTIONS) == FRESH + own
    assert update(
        "# scanners of the site\nX_SCANS=7\nEPOCHS=1\n" + FRESH + "# to be discussed\n", SECTIONS
    ) == (FRESH + own)


def test_of_a_name_that_is_written_twice_the_last_value_counts_as_in_compose() -> None:
    assert update(FRESH + "ROUNDS=4\nROUNDS=5\n", SECTIONS) == FRESH.replace("ROUNDS=3", "ROUNDS=5")


@pytest.mark.parametrize("line", ["NAME='a", 'export NAME="a', 'NAME="a\\"'])
def test_a_quote_that_is_never_closed_is_an_error(line: str) -> None:
    with pytest.raises(ValueError, match=r"NAME=.*quote"):
        update(f"{line}\nSEED=9\n", SECTIONS)


LINES = [*FRESH.splitlines(), "# mine", "X_A=1", "SEED=9", "odd line", "b'"]


@given(st.lists(st.sampled_from([*LINES, "export NAME='a\nb'", "NAME='a\nSEED=9\n# mine'"])))
def test_writing_twice_is_writing_once(lines: list[str]) -> None:
    once = update("\n".join(lines), SECTIONS)
    assert update(once, SECTIONS) == once


@given(st.lists(st.sampled_from(LINES)))
def test_no_line_of_a_user_is_lost(lines: list[str]) -> None:
    written = update("\n".join(lines), SECTIONS).splitlines()
    for line in ("# mine", "X_A=1", "odd line", "b'"):
        assert (line in lines) == (line in written), line


def test_an_assignment_that_a_later_one_replaces_is_reported_with_both_values() -> None:
    lines = find_repeated("SEED=1\nROUNDS=3\nARGS='{\n}'\nSEED=2\nARGS={}\nSEED=\n")
    assert [line.split()[0] for line in lines] == ["SEED", "ARGS", "SEED"]
    kept_and_dropped = [
        ("kept empty", "dropped 1"),
        ("kept {}", "dropped '{ }'"),
        ("kept empty", "dropped 2"),
    ]
    for line, (kept, dropped) in zip(lines, kept_and_dropped, strict=True):
        assert kept in line
        assert dropped in line
    assert find_repeated(FRESH) == []


def test_values_are_read_as_compose_reads_them() -> None:
    text = """A=1
export B = 2 # two
C: x#y
D='{
 "a": "b#c"
}' # it's
E="say \\"no\\""
F=
G=$A
A=3
"""
    expected = {"A": "3", "B": "2", "C": "x#y", "D": '{\n "a": "b#c"\n}', "E": 'say "no"', "F": ""}
    assert read_values(text) == expected
