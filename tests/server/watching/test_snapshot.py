"""A status document is validated: it may come from anyone."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.watching.screen import Frame, compose
from server.watching.snapshot import Snapshot, parse_text
from tests.server.watching.documents import make_document


def test_a_server_that_has_no_run_yet_is_a_snapshot() -> None:
    snapshot = Snapshot.parse({"state": "waiting", "run": None, "activity": None, "nodes": []})
    assert (snapshot.round, snapshot.run_id, list(snapshot.nodes)) == (0, "", [])
    assert compose(snapshot, Frame(80, 24))


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (b"", "Expecting value"),
        (b"<html>", "Expecting value"),
        (b"[]", "list"),
        (b"null", "state"),
        (b"{}", "state"),
        (b'{"state": "new"}', "new"),
        (b"[" * 100_000, "deeply"),
        (b'{"a": "\xff"}', "decode"),
    ],
)
def test_what_is_no_status_is_an_error(text: bytes, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        parse_text(text)


@pytest.mark.parametrize(
    ("part", "value", "named"),
    [
        ("run", [], "status.run"),
        ("nodes", {"a": 1}, "status.nodes"),
        ("nodes", ["a"], "status.nodes[0]"),
        ("activity", {"since": "soon"}, "status.activity.since"),
        ("run", {"num_rounds": True}, "status.run.num_rounds"),
        ("run", {"curves": {"evaluate": {"loss": ["x"]}}}, "status.run.curves.evaluate.loss"),
    ],
)
def test_a_field_of_another_type_is_named(part: str, value: object, named: str) -> None:
    with pytest.raises(ValueError, match=named.replace("[", r"\[")):
        Snapshot.parse({**make_document(), part: value})


def test_control_codes_of_a_name_do_not_reach_the_terminal() -> None:
    document = make_document()
    evil = "\x1b]0;owned\x07\x1b[2J\u202e"
    document["run"] |= {"name": evil, "run_id": evil}
    document["nodes"][0]["name"] = evil
    document["run"]["nodes"][0] |= {"name": evil, "metrics": {evil: 1.0}}
    document["run"]["curves"]["evaluate"][evil] = [1.0, 2.0, 3.0]
    document["activity"] |= {"name": evil}
    document["activity"]["waiting"] |= {"gone": [evil], "hint": evil, "limit": evil}
    document["activity"]["waiting"]["fields"] = {"awaited": [evil], evil: evil, "answered": evil}
    shown = "".join(line.plain for line in compose(Snapshot.parse(document), Frame(200, 60)))
    assert shown.isprintable()


def test_numbers_that_are_not_finite_are_missing() -> None:
    document = make_document()
    document["run"]["curves"]["evaluate"]["loss"] = [float("nan"), float("inf"), 1e308]
    snapshot = parse_text(json.dumps(document).encode())
    assert [row.evaluate["loss"] for row in snapshot.rounds] == [None, None, 1e308]
    assert compose(snapshot, Frame(80, 24))


def test_a_node_that_left_before_and_one_that_has_just_joined_are_both_there() -> None:
    document = make_document(nodes=2)
    del document["run"]["nodes"][1]
    del document["nodes"][0]
    nodes = {node.name: node for node in Snapshot.parse(document).nodes}
    assert (nodes["site.client-1"].state, nodes["site.client-2"].state) == ("", "ready")


_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=9),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=9), inner, max_size=3),
    max_leaves=9,
)


@given(
    path=st.sampled_from(
        [
            ("run",),
            ("nodes",),
            ("activity",),
            ("activity", "waiting"),
            ("activity", "waiting", "fields"),
            ("activity", "waiting", "fields", "answered"),
            ("run", "curves"),
            ("run", "curves", "rounds"),
            ("run", "curves", "nodes"),
            ("run", "curves", "evaluate", "loss"),
            ("run", "curves", "seconds"),
            ("run", "num_rounds"),
            ("run", "best"),
            ("run", "privacy"),
            ("run", "started"),
        ]
    ),
    value=_VALUES,
)
def test_any_value_in_any_place_is_shown_or_is_an_error(path: tuple[str, ...], value: Any) -> None:
    document = inner = make_document()
    for name in path[:-1]:
        inner = inner[name]
    inner[path[-1]] = value
    try:
        snapshot = Snapshot.parse(document)
    except ValueError:
        return
    assert len(compose(snapshot, Frame(80, 24))) <= 24
