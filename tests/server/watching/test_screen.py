"""The screen fits, shows what matters first, and is never more than its lines."""

from typing import Any

import pytest
from rich.cells import cell_len

from server.watching.screen import Frame, compose
from server.watching.snapshot import Snapshot
from tests.server.watching.documents import make_document


def show(document: dict[str, Any], width: int = 80, height: int = 24, **around: Any) -> list[str]:
    snapshot = Snapshot.parse(document)
    frame = Frame(width, height, **around)
    return [line.plain.rstrip() for line in compose(snapshot, frame, now=snapshot.read_at)]


def find(lines: list[str], start: str) -> str:
    [line] = [line for line in lines if line.startswith(start)]
    return line


def test_a_screen_shows_the_progress_what_is_awaited_the_rounds_and_the_nodes() -> None:
    lines = show(make_document(), url="http://127.0.0.1:8081/")
    assert lines[0].split() == ["run", "20261126-120000-abcd", "first", "try"]
    progress = "running round 3 of 10 elapsed 0:01:00 about 0:00:17 left"
    assert lines[1].split() == progress.split()
    activity = " ".join(lines[2:4])
    for part in ("train", "round 4", "0:00:10", "1 of 2 answered", "client-2", "0:01:00", "ROUND_TIMEOUT"):
        assert part in activity
    assert "page http://127.0.0.1:8081/" in lines
    assert find(lines, "loss").endswith("0.3333  best 0.5000 in round 2")
    rows = [line.split() for line in lines if line.split()[:2] == ["3", "2"]]
    assert rows == [["3", "2", "0.6667", "0.3333", "0.5300", "2.50"]]
    assert find(lines, "client-1").split() == ["client-1", "ready", "1,234", "0.2500"]
    assert find(lines, "client-2").split()[1] == "awaited"


@pytest.mark.parametrize("size", [(80, 24), (40, 12), (20, 5), (200, 60), (1, 1)])
@pytest.mark.parametrize(("rounds", "nodes"), [(0, 0), (0, 200), (3, 2), (1000, 1), (1000, 200)])
def test_a_screen_has_no_more_lines_and_columns_than_its_terminal(
    size: tuple[int, int], rounds: int, nodes: int
) -> None:
    lines = show(make_document(rounds, nodes), *size, url="http://127.0.0.1:8081/", note="gone")
    assert len(lines) <= size[1]
    assert max(map(cell_len, lines)) <= size[0]


def test_of_many_nodes_those_with_troubles_come_first_with_a_count_of_all() -> None:
    document = make_document(rounds=50, nodes=200)
    for number in (60, 160):
        document["nodes"][number]["state"] = "gone"
    document["run"]["nodes"][100]["rejected"] = 3
    document["run"]["nodes"][150]["missing"] = 1
    lines = show(document)
    summary = find(lines, "200 nodes")
    shown = [line.split()[0] for line in lines[lines.index(summary) + 2 :]]
    assert shown[:4] == ["client-61", "client-161", "client-101", "client-151"]
    assert f"{200 - len(shown)} not shown" in summary
    for count in ("198 ready", "2 gone", "1 with rejected updates"):
        assert count in summary
    # Rejected and missing.
    assert find(lines, "client-101").split()[-2:] == ["3", "0"]


def test_a_node_alone_is_not_counted_as_nodes() -> None:
    document = make_document(nodes=1)
    document["nodes"][0]["state"] = "loading"
    assert find(show(document), "1 node") == "1 node: 1 loading"


def test_nodes_that_fit_are_in_the_order_of_their_numbers() -> None:
    document = make_document(nodes=12)
    document["nodes"][11]["state"] = "gone"
    lines = show(document, 80, 60)
    names = [line.split()[0] for line in lines if line.startswith("client-")]
    assert names == [f"client-{number}" for number in range(1, 13)]


def test_a_node_that_is_awaited_although_it_left_is_marked() -> None:
    document = make_document()
    document["activity"]["waiting"]["gone"] = ["site.client-2"]
    document["nodes"][1]["state"] = "gone"
    lines = show(document)
    assert "client-2 (gone)" in " ".join(lines)
    assert find(lines, "client-2").split()[1] == "gone"


def test_a_deadline_that_stands_still_has_its_reason_in_front() -> None:
    document = make_document()
    fields = document["activity"]["waiting"]["fields"]
    fields["transfers"] = None
    assert "transfers" not in " ".join(show(document))
    fields["transfers"] = 12
    assert "awaited: client-2; transfers: 12; 0:01:00 left (ROUND_TIMEOUT)" in " ".join(show(document))


def test_a_wait_for_nodes_shows_how_many_are_there_and_what_to_do() -> None:
    document = make_document(rounds=0, nodes=1, state="waiting")
    document["activity"] = {
        "name": "waiting for nodes",
        "round": 0,
        "since": "2026-11-26T12:00:50+00:00",
        "waiting": {
            "fields": {"ready": 1, "wanted": 3, "wanted_by": "MIN_CLIENTS", "loading": ["site.client-7"]},
            "until": None,
            "limit": "CLIENT_WAIT_TIMEOUT",
            "hint": "start more clients",
        },
    }
    shown = " ".join(show(document))
    for part in ("1 of 3 nodes", "MIN_CLIENTS", "loading: client-7", "start more clients"):
        assert part in shown


def test_a_narrow_terminal_keeps_the_round_the_loss_and_the_seconds() -> None:
    lines = show(make_document(), 24, 24)
    assert [line.split() for line in lines if line.split()[:1] == ["round"]] == [["round", "loss", "seconds"]]


def test_a_terminal_without_utf_8_has_ascii_alone() -> None:
    assert "".join(show(make_document(200, 200), 60, 20, is_ascii=True)).isascii()


def test_a_run_that_has_ended_shows_why_and_no_clock_goes_on() -> None:
    document = make_document(state="failed")
    document["nodes"][0]["state"] = "gone"
    document["run"] |= {"finished": "2026-11-26T12:00:30+00:00", "reason": "round 4 failed"}
    lines = show(document, url="http://127.0.0.1:8081/")
    assert lines[1].split() == ["failed", "round", "3", "of", "10", "elapsed", "0:00:30"]
    assert "round 4 failed" in lines
    # Nodes that leave at the end are not a problem.
    assert "2 nodes" in lines
    assert not [line for line in lines if "page" in line]


def test_metrics_that_are_missing_or_named_like_other_columns_are_shown() -> None:
    document = make_document()
    document["run"]["curves"]["evaluate"] = {"round": [1.0, None, 3.0], "seconds": [None, None, None]}
    lines = show(document)
    assert [line.split() for line in lines if line.split()[:2] == ["2", "2"]] == [
        ["2", "2", "1.0000", "-", "-", "2.50"]
    ]
