"""How the replies to a step are explained."""

from server.replies import Replies


def test_nodes_with_one_reason_are_named_with_it_once() -> None:
    replies = Replies(rejected={"b": "odd", "a": "odd", "c": "new"}, missing=dict.fromkeys("de", "no reply"))
    assert replies.explain() == "nodes a, b: odd; node c: new; nodes d, e: no reply"


def test_many_nodes_with_reasons_of_their_own_are_counted() -> None:
    replies = Replies(missing={f"n{number:02}": f"no reply, {number} s of transfers" for number in range(30)})
    *first, more = replies.explain().split("; ")
    assert first == [f"node n{number:02}: no reply, {number} s of transfers" for number in range(20)]
    assert more == "and 10 more"
