"""The page of real runs, from a real status server, in a real browser."""

import threading
from collections.abc import Callable

import pytest
from playwright.sync_api import Page, expect

from fedmx.values import Address
from server.overview import read_overview
from server.status.page import build_report
from tests.bounds import HANG_S
from tests.ports import find_free_port
from tests.server.federation import Federation
from tests.server.nodes import Config, Metrics, NullNode, Values, shift
from tests.server.status.browser import count_points, keep_screenshot, read_rows

Opener = Callable[..., Page]
TOGETHER = "Loss, all nodes together"
EACH = "Loss, each node"


class Paced:
    """A node that trains a round whenever it may, and whose loss falls."""

    def __init__(self) -> None:
        self._allowed = threading.Semaphore(0)
        self._round = 0

    def allow(self, rounds: int) -> None:
        for _ in range(rounds):
            self._allowed.release()

    def node(self) -> NullNode:
        return NullNode(train=self._train, evaluate=self._evaluate)

    def _train(self, values: Values, config: Config) -> tuple[Values, Metrics]:
        self._allowed.acquire(timeout=HANG_S)
        self._round = config["server-round"]
        return shift(1.0, loss=2 / self._round)(values, config)

    def _evaluate(self, _: Values, __: Config) -> Metrics:
        return {"loss": 1 / self._round, "accuracy": 1 - 0.5 / self._round, "num-examples": 10}


class Running:
    """A federation with a status server that trains on another thread, and a node that sets its pace."""

    def __init__(self, federation: Federation, **settings: object) -> None:
        self.pace = Paced()
        self.address = Address("127.0.0.1", find_free_port())
        self.url = f"http://{self.address}/"
        nodes = {"a.client-1": self.pace.node(), "b.client-1": NullNode()}
        self._thread = threading.Thread(
            target=federation.run, args=(nodes,), kwargs={"status_address": self.address, **settings}
        )
        self._thread.start()

    def end(self) -> None:
        self.pace.allow(100)
        self._thread.join(HANG_S)
        assert not self._thread.is_alive()


def open_running(open_page: Opener, running: Running) -> Page:
    """Open the page, once its server listens."""
    for _ in range(int(HANG_S * 10)):
        try:
            return open_page(running.url, ignored="ERR_CONNECTION|ERR_EMPTY")
        except Exception as error:  # noqa: BLE001 - Playwright has one class for all errors
            assert "ERR_CONNECTION_REFUSED" in str(error)  # noqa: PT017 - others are failures
            threading.Event().wait(0.1)
    raise AssertionError("the status server does not listen")


def test_the_page_follows_a_run_to_its_end_and_compares_it_with_an_earlier_one(
    open_page: Opener, federation: Federation
) -> None:
    federation.run({"a.client-1": NullNode(), "b.client-1": NullNode()}, num_rounds=2, run_name="earlier")
    running = Running(federation, num_rounds=4, run_name="now", learning_rate=0.02)
    try:
        page = open_running(open_page, running)
        expect(page.locator("#name")).to_have_text("now")
        expect(page.locator("#figures")).to_contain_text("0 of 4")
        expect(page.locator("#activity")).to_have_text("Training in round 1")
        running.pace.allow(1)
        expect(page.locator("#figures")).to_contain_text("1 of 4")
        running.pace.allow(1)
        expect(page.locator("#figures")).to_contain_text("2 of 4")
        assert count_points(page, TOGETHER, "evaluate") == 2
        assert [row[0] for row in read_rows(page, "Nodes (2)")] == ["a.client-1", "b.client-1"]
        states = {row[1].split()[0]: row[2] for row in read_rows(page, "All runs")}
        assert states == {"now": "Running", "earlier": "Finished"}
        page.get_by_label("Compare with earlier").check()
        expect(page.locator("#comparison")).to_be_visible()
        assert ["LEARNING_RATE", "0.02", "0.05"] in read_rows(page, "Settings that differ")
        keep_screenshot(page, "real-run")
        running.pace.allow(2)
        expect(page.locator("#state")).to_have_text("Finished")
        expect(page.locator("#figures")).to_contain_text("4 of 4")
        assert count_points(page, TOGETHER, "evaluate") == 4
        assert count_points(page, EACH, "node a.client-1") == 4
        expect(page.locator("#connection")).to_contain_text("its server has ended")
    finally:
        running.end()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_report_of_a_real_run_shows_what_its_record_has(
    open_report: Opener, federation: Federation, scheme: str
) -> None:
    pace = Paced()
    pace.allow(3)
    federation.run({"a.client-1": pace.node(), "b.client-1": NullNode()}, num_rounds=3, run_notes="kept")
    page = open_report(build_report(read_overview(federation.folder)), color_scheme=scheme)
    last = federation.history[-1]["evaluate"]["metrics"]["loss"]
    assert count_points(page, TOGETHER, "evaluate") == 3
    expect(page.locator("figure").first.locator(".legend .value").first).to_have_text(f"{last:.4f}")
    expect(page.locator("#notes")).to_have_text("kept")
    expect(page.locator("#figures")).to_contain_text("3 of 3")
