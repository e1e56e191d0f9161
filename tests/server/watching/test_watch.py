"""A run is followed to its end, and across a restart of its server."""

import itertools
from collections.abc import Iterator

import pytest

from fedmx.errors import UnreachableError
from server.watching.lines import Lines
from server.watching.snapshot import Snapshot
from server.watching.source import NoStatusError
from server.watching.watch import Watcher
from tests.server.watching.documents import make_document


class View:
    def __init__(self) -> None:
        self.shown: list[tuple[str, int]] = []
        self.notes: list[str] = []

    def show(self, snapshot: Snapshot) -> None:
        self.shown.append((snapshot.state, snapshot.round))

    def report(self, note: str) -> None:
        self.notes.append(note)


def make_snapshot(rounds: int, state: str = "running") -> Snapshot:
    return Snapshot.parse(make_document(rounds, state=state))


def make_watcher(view: View, *found: Snapshot | None) -> Watcher:
    """Return a watcher to whom the server answers this, None for not at all; a second passes between two."""
    answers: Iterator[Snapshot | None] = itertools.chain(found, itertools.repeat(found[-1]))
    seconds = itertools.count()

    def read() -> Snapshot:
        answer = next(answers)
        if answer is None:
            raise NoStatusError("Connection refused")
        return answer

    return Watcher(read, view, clock=lambda: float(next(seconds)), sleep=lambda _: None)


@pytest.mark.parametrize("state", ["finished", "failed"])
def test_a_run_is_shown_until_it_has_ended(state: str) -> None:
    view = View()
    same = make_snapshot(1)
    last = make_watcher(view, same, make_snapshot(2), make_snapshot(2, state)).follow(same)
    assert (last.state, last.round) == (state, 2)
    assert view.shown == [("running", 1), ("running", 2), (state, 2)]
    assert view.notes == []


def test_a_server_that_is_started_again_is_followed_on() -> None:
    view = View()
    stopped = make_snapshot(2, "interrupted")
    make_watcher(view, stopped, None, None, make_snapshot(1), make_snapshot(3, "finished")).follow(
        make_snapshot(1)
    )
    assert view.shown == [("running", 1), ("interrupted", 2), ("running", 1), ("finished", 3)]
    assert [bool(note) for note in view.notes] == [True, False]


@pytest.mark.parametrize("end", [None, make_snapshot(2, "interrupted")])
def test_a_server_that_does_not_come_back_ends_the_watch(end: Snapshot | None) -> None:
    view = View()
    with pytest.raises(UnreachableError, match="newest round 2"):
        make_watcher(view, make_snapshot(2), end).follow(make_snapshot(1))
    assert len(view.notes) == 1


def test_there_is_one_line_for_the_run_each_round_and_the_end() -> None:
    lines = Lines()
    assert [line.partition(":")[0] for line in lines.describe(make_snapshot(2))] == [
        "run 20261126-120000-abcd first try",
        "round 1 of 10",
        "round 2 of 10",
    ]
    assert list(lines.describe(make_snapshot(2))) == []
    [third] = lines.describe(make_snapshot(3))
    assert third == "round 3 of 10: loss 0.3333, accuracy 0.5300, 2 nodes, 2.50 s"
    [end] = lines.describe(make_snapshot(3, "finished"))
    assert end.startswith("finished, round 3 of 10")


@pytest.mark.parametrize(
    ("counts", "described"),
    [
        ({"nodes": [3], "left_out": [1], "missing": [0]}, "3 nodes, 1 left out, 2.50 s"),
        ({"nodes": [1], "left_out": [0], "missing": [2]}, "1 node, 2 missing, 2.50 s"),
    ],
    ids=["left out", "missing"],
)
def test_the_line_of_a_round_counts_the_nodes_that_it_did_without(
    counts: dict[str, list[int]], described: str
) -> None:
    document = make_document(1)
    document["run"]["curves"] |= counts
    [_, line] = Lines().describe(Snapshot.parse(document))
    assert line == f"round 1 of 10: loss 1.0000, accuracy 0.5100, {described}"


def test_of_many_earlier_rounds_the_newest_ten_have_lines() -> None:
    [_, *rounds] = Lines().describe(make_snapshot(300))
    assert [line.split()[1] for line in rounds] == [str(number) for number in range(291, 301)]


def test_rounds_that_a_resumed_run_repeats_have_lines_again() -> None:
    lines = Lines()
    list(lines.describe(make_snapshot(4)))
    assert list(lines.describe(make_snapshot(2))) == []
    assert [line.split()[1] for line in lines.describe(make_snapshot(3))] == ["3"]
