"""The live page in a real browser, while its server sends one status after the other."""

from collections.abc import Callable

from playwright.sync_api import Page, expect

from tests.server.status.browser import NOTHING, count_points, keep_screenshot, read_rows
from tests.server.status.documents import make_document, make_status, make_summary, write_time
from tests.server.status.made_up_server import MadeUpServer

Opener = Callable[..., Page]
TOGETHER = "Loss, all nodes together"


def test_a_new_round_appears_and_is_read_out(open_page: Opener, made_up: MadeUpServer) -> None:
    made_up.status = make_status(make_document(2, 2, num_rounds=5, status="running"))
    page = open_page(made_up.url)
    expect(page.locator("#figures")).to_contain_text("2 of 5")
    expect(page.locator("#announcement")).to_have_text("")
    page.locator("#metric").focus()
    made_up.status = make_status(make_document(3, 2, num_rounds=5, status="running"))
    expect(page.locator("#figures")).to_contain_text("3 of 5")
    expect(page.locator("#announcement")).to_contain_text("Round 3 of 5 finished: loss")
    assert count_points(page, TOGETHER, "evaluate") == 3
    assert page.title().startswith("3/5 · Running")
    # What is updated keeps the focus.
    assert page.evaluate("document.activeElement.id") == "metric"


def test_what_is_awaited_is_shown_with_its_limit_and_what_happens_then(
    open_page: Opener, made_up: MadeUpServer
) -> None:
    status = make_status(make_document(2, 3, num_rounds=5, status="running"))
    status["activity"]["waiting"] = {
        "fields": {
            "round": 3,
            "step": "train",
            "answered": 1,
            "awaited": ["site-1.client-2", "site-2.client-3"],
        },
        "until": write_time(600),
        "limit": "ROUND_TIMEOUT",
        "then": "the round continues with the updates that arrived",
        "hint": "check the network of site-2",
        "gone": ["site-2.client-3"],
    }
    made_up.status = status
    page = open_page(made_up.url)
    now = page.locator("#now")
    expect(now).to_contain_text("Training in round 3")
    expect(now).to_contain_text("2 of 3 nodes: site-1.client-2, site-2.client-3")
    expect(now).to_contain_text("09:10:00 (ROUND_TIMEOUT)")
    expect(now).to_contain_text("continues with the updates that arrived")
    expect(now).to_contain_text("check the network of site-2")
    keep_screenshot(page, "waiting")


def test_before_its_first_round_the_page_shows_who_has_joined(
    open_page: Opener, made_up: MadeUpServer
) -> None:
    made_up.status = make_status(
        make_document(0, 0, num_rounds=5, status="running"),
        "waiting",
        nodes=[
            {
                "name": "a.client-1",
                "site": "a",
                "partition": None,
                "device": "gpu 0",
                "state": "ready",
                "since": None,
            },
            {
                "name": "b.client-1",
                "site": "b",
                "partition": None,
                "device": "",
                "state": "loading",
                "since": None,
            },
        ],
    )
    page = open_page(made_up.url)
    expect(page.locator("#state")).to_have_text("Waiting for nodes")
    expect(page.locator("#figures")).to_contain_text("1 of 2")
    assert [row[:4] for row in read_rows(page, "Nodes (2)")] == [
        ["a.client-1", "a", "gpu 0", "ready"],
        ["b.client-1", "b", NOTHING, "loading data"],
    ]


def test_a_server_without_a_run_yet_is_waited_for(open_page: Opener, made_up: MadeUpServer) -> None:
    made_up.status = {
        "fedmx": "0.1.0",
        "now": write_time(0),
        "state": "waiting",
        "run": None,
        "activity": None,
        "nodes": [],
        "runs": [],
    }
    page = open_page(made_up.url)
    expect(page.locator("#name")).to_have_text("Waiting for a run")


def test_after_the_connection_is_lost_the_last_data_stays(open_page: Opener, made_up: MadeUpServer) -> None:
    made_up.status = make_status(make_document(2, 2, num_rounds=5, status="running"))
    page = open_page(made_up.url, ignored="ERR_CONNECTION|ERR_EMPTY")
    expect(page.locator("#figures")).to_contain_text("2 of 5")
    made_up.stop()
    expect(page.locator("#connection")).to_contain_text("No connection to the server since")
    assert count_points(page, TOGETHER, "evaluate") == 2
    keep_screenshot(page, "connection-lost")


def test_a_page_continues_once_its_server_is_back(open_page: Opener, made_up: MadeUpServer) -> None:
    made_up.status = make_status(make_document(2, 2, num_rounds=5, status="running"))
    page = open_page(made_up.url, ignored="ERR_CONNECTION|ERR_EMPTY")
    expect(page.locator("#figures")).to_contain_text("2 of 5")
    made_up.stop()
    expect(page.locator("#connection")).to_be_visible()
    with MadeUpServer(int(made_up.url.rsplit(":", 1)[1].strip("/"))) as again:
        again.status = make_status(make_document(4, 2, num_rounds=5, status="running"))
        expect(page.locator("#figures")).to_contain_text("4 of 5")
        expect(page.locator("#connection")).to_be_hidden()


def test_after_a_run_is_over_the_page_says_that_its_server_has_ended(
    open_page: Opener, made_up: MadeUpServer
) -> None:
    made_up.status = make_status(make_document(5, 2), "finished")
    page = open_page(made_up.url, ignored="ERR_CONNECTION|ERR_EMPTY")
    expect(page.locator("#state")).to_have_text("Finished")
    made_up.stop()
    expect(page.locator("#connection")).to_contain_text("The run is over and its server has ended")


def test_nodes_that_leave_at_the_end_of_a_run_are_not_shown_as_lost(
    open_page: Opener, made_up: MadeUpServer
) -> None:
    status = make_status(make_document(5, 2), "finished")
    made_up.status = status | {"nodes": [node | {"state": "gone"} for node in status["nodes"]]}
    page = open_page(made_up.url)
    expect(page.locator("#state")).to_have_text("Finished")
    expect(page.get_by_role("button", name="Device")).to_be_visible()
    expect(page.get_by_text("not connected")).to_have_count(0)


def test_stored_runs_are_compared_and_opened(open_page: Opener, made_up: MadeUpServer) -> None:
    run = make_document(2, 2, num_rounds=5, status="running")
    old = make_document(9, 2, run_id="20260101-000000-ff00", name="older", settings={"LEARNING_RATE": 1})
    made_up.status = make_status(run, runs=[make_summary(run), make_summary(old)])
    made_up.runs = {old["run_id"]: old}
    page = open_page(made_up.url)
    page.get_by_label("Compare with older").check()
    expect(page.locator("#comparison")).to_be_visible()
    assert count_points(page, "Loss of each run", old["run_id"]) == 9
    assert count_points(page, "Loss of each run", run["run_id"]) == 2
    assert ["LEARNING_RATE", "0.05", "1"] in read_rows(page, "Settings that differ")
    page.get_by_role("link", name="older").click()
    expect(page.locator("#name")).to_have_text("older")
    assert count_points(page, TOGETHER, "evaluate") == 9
    page.get_by_role("link", name="Show the current run").click()
    expect(page.locator("#name")).to_have_text(run["run_id"])


def test_a_run_that_was_removed_meanwhile_is_reported(open_page: Opener, made_up: MadeUpServer) -> None:
    run = make_document(2, 2)
    gone = make_document(2, 2, run_id="20260101-000000-ff00", name="gone")
    made_up.status = make_status(run, runs=[make_summary(run), make_summary(gone)])
    page = open_page(made_up.url, ignored="404")
    page.get_by_label("Compare with gone").click()
    expect(page.locator("#runs-hint")).to_contain_text("cannot be read")
    expect(page.get_by_label("Compare with gone")).not_to_be_checked()
