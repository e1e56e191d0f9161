"""In which words programs end that did not end well."""

from local.endings import Ending, describe, list_details

WRONG = "2026-11-25T12:34:56.789+00:00 ERROR   DATA_DIR=x: no such folder"
BUG = [
    "2026-11-25T12:34:56.789+00:00 ERROR   a bug in fedmx",
    "Traceback (most recent call last):",
    "KeyError: 1",
]


def test_endings_of_one_kind_are_one_line_whenever_they_came() -> None:
    later = WRONG.replace("56.789", "57.001")
    endings = [Ending("a", 2, [WRONG]), Ending("b", 5, []), Ending("c", 2, [later])]
    assert describe(endings, clients=4) == [
        "a, c ended with exit code 2: DATA_DIR=x: no such folder",
        "b ended with exit code 5",
    ]


def test_clients_that_all_ended_alike_are_counted() -> None:
    endings = [Ending(name, 2, [WRONG]) for name in "abc"]
    assert describe(endings, clients=3) == [
        "all 3 clients ended with exit code 2: DATA_DIR=x: no such folder"
    ]
    assert describe(endings[:1], clients=1) == ["a ended with exit code 2: DATA_DIR=x: no such folder"]


def test_a_program_that_was_killed_is_said_with_the_signal() -> None:
    assert describe([Ending("a", 137, [])], clients=2) == ["a ended with exit code 137: SIGKILL"]


def test_further_lines_are_shown_of_one_program_of_each_kind() -> None:
    endings = [Ending("a", 1, BUG), Ending("b", 4, ["first", WRONG]), Ending("c", 1, BUG)]
    assert list_details(endings) == [*(("a", line) for line in BUG), ("b", "first")]


def test_the_traceback_of_a_bug_is_shown_in_json_too() -> None:
    line = '{"level": "ERROR", "event": "a bug in fedmx", "traceback": "KeyError: 1"}'
    assert list_details([Ending("a", 1, [line])]) == [("a", line)]
