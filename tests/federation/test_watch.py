"""`python -m server watch` beside real federations: what it shows, and how it ends."""

import http.server
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import pytest

from tests.bounds import HANG_S
from tests.federation.programs import ROOT, Federation, make_environment, start_command
from tests.ports import find_free_port
from tests.screens import Terminal

WATCH = [sys.executable, "-m", "server", "watch"]
TINY = {"TASK": "tiny_task", "CLIENT_THREADS": 1}
RUN = {"MIN_CLIENTS": 2, "NUM_PARTITIONS": 2, "JOIN_WINDOW": 0}


@pytest.fixture
def address() -> str:
    """The address of a status page."""
    return f"127.0.0.1:{find_free_port()}"


def watch(*arguments: str, **settings: object) -> tuple[int, str, str]:
    process = start_command("watch", *arguments, **settings)
    output, errors = process.communicate(timeout=HANG_S)
    return process.returncode, output, errors


def start_clients(federation: Federation, **settings: object) -> None:
    for _ in range(2):
        federation.start_client(**{**TINY, **settings})


def read_first_line(process: "subprocess.Popen[str]") -> str:
    assert process.stdout
    return process.stdout.readline()


def test_each_round_of_a_run_is_a_line_and_a_finished_run_ends_with_0(
    federation: Federation, address: str
) -> None:
    server = federation.start_server(STATUS_ADDRESS=address, NUM_ROUNDS=3, **RUN)
    server.wait_for("listening")
    watching = start_command("watch", f"http://{address}/")
    assert "waiting" in read_first_line(watching)
    start_clients(federation)
    output, errors = watching.communicate(timeout=HANG_S)
    assert (watching.returncode, errors) == (0, "")
    *rounds, end = output.splitlines()
    assert [line.partition(":")[0] for line in rounds] == [f"round {number} of 3" for number in (1, 2, 3)]
    assert all("loss" in line and "2 nodes" in line for line in rounds)
    assert federation.facts["model_sha256"] in end
    assert server.wait() == 0


def test_a_failed_run_ends_with_4_and_its_reason(federation: Federation, address: str) -> None:
    server = federation.start_server(STATUS_ADDRESS=address, NUM_ROUNDS=3, **RUN)
    server.wait_for("listening")
    watching = start_command("watch", STATUS_ADDRESS=f"0.0.0.0:{address.rpartition(':')[2]}")
    assert read_first_line(watching)
    start_clients(federation, TASK="raising_task")
    _, errors = watching.communicate(timeout=HANG_S)
    assert (watching.returncode, errors.count("\n")) == (4, 1)
    assert "the columns do not fit" in errors or "round 1" in errors
    assert server.wait() == 4


@pytest.mark.slow
def test_a_server_that_is_stopped_and_started_again_is_followed_to_the_end(
    federation: Federation, address: str
) -> None:
    settings = {"STATUS_ADDRESS": address, "NUM_ROUNDS": 60, **RUN}
    server = federation.start_server(**settings)
    start_clients(federation)
    server.wait_for("round finished|round=2")
    watching = start_command("watch", address)
    assert read_first_line(watching)
    server.stop()
    assert watching.stdout
    while "again" not in watching.stdout.readline():
        assert watching.poll() is None
    federation.start_server(**settings)
    output, errors = watching.communicate(timeout=HANG_S)
    assert (watching.returncode, errors) == (0, "")
    assert "answers again" in output
    assert "round 60 of 60" in output


def test_a_terminal_shows_what_is_awaited_the_rounds_and_the_end(
    federation: Federation, address: str
) -> None:
    server = federation.start_server(STATUS_ADDRESS=address, NUM_ROUNDS=3, **RUN)
    server.wait_for("listening")
    environment = make_environment({"TERM": "xterm"})
    terminal = Terminal([*WATCH, address], environment, ROOT)
    try:
        assert terminal.read_until(lambda text: "0 of 2 nodes are ready" in text)
        start_clients(federation)
        text = terminal.read_all()
        assert terminal.process.wait(HANG_S) == 0
    finally:
        terminal.close()
    assert any(line.split()[:4] == ["finished", "round", "3", "of"] for line in text.splitlines())
    assert [line.split()[0] for line in text.splitlines() if line.split()[1:2] == ["2"]] == ["1", "2", "3"]
    assert server.wait() == 0


def test_ctrl_c_ends_the_watch_with_130_and_not_the_run(federation: Federation, address: str) -> None:
    server = federation.start_server(STATUS_ADDRESS=address, **RUN)
    server.wait_for("listening")
    terminal = Terminal([*WATCH, address], make_environment({"TERM": "xterm"}), ROOT)
    try:
        assert terminal.read_until(lambda text: "0 of 2 nodes are ready" in text)
        terminal.process.send_signal(signal.SIGINT)
        terminal.read_all()
        assert terminal.process.wait(HANG_S) == 130
    finally:
        terminal.close()
    assert terminal.codes.rindex("\x1b[?25h") > terminal.codes.rindex("\x1b[?25l")
    assert server.process.poll() is None


def test_without_a_server_the_watch_ends_with_5_and_one_line(address: str) -> None:
    code, output, errors = watch(STATUS_ADDRESS=address)
    assert (code, output, errors.count("\n")) == (5, "", 1)
    assert f"http://{address}/" in errors
    assert "STATUS_ADDRESS" in errors


@pytest.mark.parametrize(
    ("arguments", "settings"),
    [
        (["http://"], {}),
        (["ftp://127.0.0.1/"], {}),
        (["127.0.0.1:x"], {}),
        (["http://127.0.0.1 /"], {}),
        ([], {"STATUS_ADDRESS": "127.0.0.1:0"}),
        ([], {"STATUS_ADDRESS": "nothing"}),
    ],
)
def test_what_is_no_url_ends_the_watch_with_2(arguments: list[str], settings: dict[str, str]) -> None:
    code, output, errors = watch(*arguments, **settings)
    assert (code, output, errors.count("\n")) == (2, "", 1)


class Other(http.server.BaseHTTPRequestHandler):
    """A web server that is not a federation's."""

    def do_GET(self) -> None:
        code, content, header = cast("Any", self.server).answer
        self.send_response(code)
        for name, value in header.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def other() -> Iterator[http.server.HTTPServer]:
    server = http.server.HTTPServer(("127.0.0.1", 0), Other)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield server
    server.shutdown()
    server.server_close()


@pytest.mark.parametrize(
    ("answer", "named"),
    [
        ((200, b"<html>", {}), "not the status of a run"),
        ((200, b'{"state": 1}', {}), "state"),
        ((404, b"\x1b[2Jno\nmore", {}), "404: \\x1b[2Jno"),
        ((403, b"Host: x: not a name of this server", {}), "not a name of this server"),
        ((302, b"", {"Location": "http://127.0.0.1:9/"}), "302"),
        ((304, b"", {}), "304"),
    ],
)
def test_another_web_server_ends_the_watch_with_5_and_why(
    other: Any, answer: tuple[int, bytes, dict[str, str]], named: str
) -> None:
    other.answer = answer
    # A proxy for other hosts is not used for this machine.
    code, output, errors = watch(f"127.0.0.1:{other.server_port}", http_proxy="http://127.0.0.1:9")
    assert (code, output, errors.count("\n")) == (5, "", 1)
    assert named in errors


def test_watching_does_not_import_flower(tmp_path: Path) -> None:
    program = "import sys; from server.watching import watch, command; print('flwr' in sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert done.stdout == "False\n"
