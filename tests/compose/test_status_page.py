"""The page of a run in containers: published at a free port, and found by `make status`."""

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.compose.conftest import make_stack
from tests.compose.stack import PATIENCE_S, Stack, find_host_address
from tests.server.status.web import fetch, wait_until

pytestmark = [pytest.mark.compose, pytest.mark.timeout(600)]


@pytest.fixture
def other(images: None, tmp_path: Path) -> Iterator[Stack]:
    """A second project on the same machine."""
    (tmp_path / "other").mkdir()
    made = make_stack(tmp_path / "other")
    yield made
    made.end()


def find_url(stack: Stack) -> str:
    made = stack.make("status", folder=stack.folder)
    assert made.returncode == 0, made.stderr
    [url] = made.stdout.splitlines()
    return url


def await_run(url: str) -> None:
    wait_until(lambda: fetch(url, "/status.json").json["run"])


def test_two_federations_show_their_runs_at_addresses_of_their_own(stack: Stack, other: Stack) -> None:
    none = stack.make("status", folder=stack.folder)
    assert none.returncode == 2
    assert "make up" in none.stderr
    with stack.begin("up", "server") as up, other.begin("up", "server") as other_up:
        for one in (stack, other):
            one.wait_for("listening", "server")
        urls = [find_url(one) for one in (stack, other)]
        assert len(set(urls)) == 2
        for one, url in zip((stack, other), urls, strict=True):
            assert fetch(url, "/status.json").json["state"] == "waiting"
            await_run(url)
            assert fetch(url, "/").status == 200
            assert fetch(url, "/healthz").json["run_id"] == one.read_run()["run_id"]
            assert fetch(url, "/", Host="evil.example.org").status == 403
            # Loopback only.
            with pytest.raises(OSError, match="refused"):
                fetch(url.replace("127.0.0.1", find_host_address()))
        for one, process in ((stack, up), (other, other_up)):
            one.run("stop")
            process.wait(PATIENCE_S)
    ended = stack.make("status", folder=stack.folder)
    assert ended.returncode == 2


def test_the_address_can_be_chosen_and_the_page_left_out(stack: Stack, other: Stack) -> None:
    published = f"127.0.0.1:{other.port}"
    with stack.begin("up", "server", STATUS_PUBLISH=published) as up:
        stack.wait_for("listening", "server")
        assert find_url(stack) == f"http://{published}/"
        assert fetch(f"http://{published}/", "/metrics").status == 200
        stack.run("stop")
        up.wait(PATIENCE_S)
    with other.begin("up", "server", STATUS_ADDRESS="off") as up:
        other.wait_for("listening", "server")
        assert "status page" not in other.log("server")
        with pytest.raises(OSError, match=r"reset|refused|closed"):
            fetch(f"http://127.0.0.1:{find_port(other)}/")
        other.run("stop")
        up.wait(PATIENCE_S)


def find_port(stack: Stack) -> str:
    return stack.run("port", "server", "8081").stdout.strip().rpartition(":")[2]


def test_the_files_of_monitoring_fit_the_compose_file(stack: Stack) -> None:
    arguments = stack.command("config", "--format", "json")
    overlay = ["-f", str(stack.root / "deploy" / "monitoring" / "compose.yml")]
    arguments[arguments.index("config") : arguments.index("config")] = overlay
    printed = subprocess.run(
        arguments, env=stack.variables(), capture_output=True, text=True, check=True
    ).stdout
    services = json.loads(printed)["services"]
    assert {"server", "client", "prometheus", "grafana"} <= services.keys()
    assert services["server"]["environment"]["STATUS_LINGER"] == "30"
    assert services["server"]["environment"]["STATUS_ADDRESS"] == "0.0.0.0:8081"
    for name in ("prometheus", "grafana"):
        mounted = [mount for mount in services[name]["volumes"] if mount["type"] == "bind"]
        assert len(mounted) >= 2
        assert all(Path(mount["source"]).is_file() for mount in mounted)
        assert {port["host_ip"] for port in services[name]["ports"]} == {"127.0.0.1"}
        assert services["server"]["networks"].keys() == services[name]["networks"].keys()
