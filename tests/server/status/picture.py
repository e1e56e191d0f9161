"""Writes the picture of the page for the docs, from a real run: `python -m tests.server.status.picture`."""

import tempfile
from pathlib import Path

from playwright.sync_api import expect, sync_playwright

from tests.bounds import HANG_S
from tests.federation.programs import ROOT, Federation
from tests.ports import find_free_port
from tests.server.status.browser import list_arguments
from tests.tools import find_browser

_PICTURE = ROOT / "docs" / "assets" / "status-page.png"
_NODES = ("hospital-1", "hospital-2", "hospital-3")
_SETTINGS = {
    "NUM_ROUNDS": 8,
    "LOCAL_EPOCHS": 1,
    "LEARNING_RATE": 0.02,
    "PARTITION": "dirichlet:0.5",
    "RUN_NAME": "Digits at three hospitals",
    "RUN_NOTES": "Each hospital has another mix of digits.",
    "RUN_TAGS": "mnist,pilot",
}


def write_picture(federation: Federation) -> None:
    """Run a federation of three nodes, and write what the page shows after most of its rounds."""
    address = f"127.0.0.1:{find_free_port()}"
    server = federation.start_server(
        NUM_PARTITIONS=3, MIN_CLIENTS=3, STATUS_ADDRESS=address, LOG_FORMAT="json", **_SETTINGS
    )
    server.wait_for("status page")
    for name in _NODES:
        federation.start_client(NODE_NAME=name)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=find_browser(), args=list_arguments())
        page = browser.new_page(viewport={"width": 1240, "height": 1040})
        page.goto(f"http://{address}/")
        expect.set_options(timeout=HANG_S * 1000)
        expect(page.locator("#figures")).to_contain_text("6 of 8")
        expect(page.locator("#wait")).to_contain_text("Awaited")
        page.screenshot(path=_PICTURE)
        browser.close()


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        started = Federation(Path(folder), find_free_port())
        try:
            write_picture(started)
        finally:
            started.end()
    print(f"{_PICTURE.relative_to(ROOT)}: {_PICTURE.stat().st_size} bytes")
