"""The probe checks that this machine's server answers: more than an open port, less than a certificate."""

import contextlib
import os
import signal
import socket
import socketserver
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from fedmx import probe
from fedmx.link.roster import Roster
from fedmx.link.server import LinkServer
from fedmx.pki.authority import Authority
from fedmx.settings import environment
from fedmx.values import Address
from tests.bounds import HANG_S
from tests.fedmx.pki.papers import make_pki, verifier_of
from tests.ports import find_free_port

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return make_pki(tmp_path_factory.mktemp("pki"))


@pytest.fixture(scope="module", params=["mtls", "insecure"])
def served(request: pytest.FixtureRequest, authority: Authority) -> Iterator[tuple[int, str]]:
    """A server's port, and its LINK_SECURITY."""
    verifier = verifier_of(authority) if request.param == "mtls" else None
    address = Address("127.0.0.1", find_free_port())
    server = LinkServer(
        address, Roster(lambda *_: None), max_model_bytes=1000, lease_grace_s=1, verifier=verifier
    )
    server.start()
    yield address.port, request.param
    server.stop(None)


def test_a_server_is_serving_with_its_own_link_security_alone(served: tuple[int, str]) -> None:
    port, security = served
    for _ in range(3):
        assert probe.is_serving("127.0.0.1", port, by_tls=security == "mtls")
    assert not probe.is_serving("127.0.0.1", port, by_tls=security != "mtls")


@pytest.mark.parametrize("by_tls", [True, False])
def test_a_closed_port_is_not_serving(by_tls: bool) -> None:
    assert not probe.is_serving("127.0.0.1", find_free_port(), by_tls=by_tls)


@pytest.mark.parametrize("by_tls", [True, False])
def test_a_port_that_accepts_connections_and_sends_nothing_is_not_serving(
    by_tls: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(probe, "_TIMEOUT_S", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        assert not probe.is_serving("127.0.0.1", silent.getsockname()[1], by_tls=by_tls)


class _Speaking(socketserver.BaseRequestHandler):
    """Sends what the test chose, and closes the connection."""

    reply: bytes

    def handle(self) -> None:
        with contextlib.suppress(OSError):
            self.request.sendall(self.reply)
            self.request.recv(4096)


@pytest.mark.parametrize("by_tls", [True, False])
@pytest.mark.parametrize(
    "reply",
    [
        b"SSH-2.0-OpenSSH_9.6\r\n",
        b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n",
        b"220 mail.example.org ESMTP\r\n",
        # A TLS alert: the handshake failed.
        b"\x15\x03\x03\x00\x02\x02\x28",
        b"",
        b"\0" * 9,
    ],
)
def test_a_port_with_another_protocol_is_not_serving(reply: bytes, by_tls: bool) -> None:
    handler = type("Handler", (_Speaking,), {"reply": reply})
    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), handler) as other:
        threading.Thread(target=other.serve_forever, args=(0.01,), daemon=True).start()
        assert not probe.is_serving("127.0.0.1", other.server_address[1], by_tls=by_tls)
        other.shutdown()


SERVE = """
import sys, threading
from pathlib import Path
from fedmx.pki import credentials
from fedmx.pki.access import PeerVerifier
from fedmx.link.roster import Roster
from fedmx.link.server import LinkServer
from fedmx.values import Address

folder = Path(sys.argv[2])
verifier = None
if folder.name:
    verifier = PeerVerifier(credentials.read_credentials(folder, "server"), folder / "revoked.txt")
address = Address("127.0.0.1", int(sys.argv[1]))
LinkServer(address, Roster(lambda *_: None), max_model_bytes=1000, lease_grace_s=1, verifier=verifier).start()
print("serving", flush=True)
threading.Event().wait()
"""


@pytest.mark.parametrize("security", ["mtls", "insecure"])
def test_a_server_that_is_stopped_by_a_signal_is_not_serving_until_it_continues(
    security: str, authority: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    port, folder = find_free_port(), authority.folder / "server" if security == "mtls" else Path()

    def ask() -> bool:
        return probe.is_serving("127.0.0.1", port, by_tls=security == "mtls")

    with subprocess.Popen(
        [sys.executable, "-c", SERVE, str(port), str(folder)], cwd=ROOT, stdout=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"serving\n"
        try:
            assert ask()
            os.kill(process.pid, signal.SIGSTOP)
            os.waitid(os.P_PID, process.pid, os.WSTOPPED)
            with monkeypatch.context() as patch:
                patch.setattr(probe, "_TIMEOUT_S", 0.3)
                assert not ask()
            os.kill(process.pid, signal.SIGCONT)
            assert ask()
        finally:
            process.kill()
    assert not ask()


def test_the_exit_code_is_0_for_a_server_with_these_settings_alone(
    served: tuple[int, str],
) -> None:
    port, security = served
    other = "insecure" if security == "mtls" else "mtls"
    asked = {(security, port): 0, (other, port): 1, (security, find_free_port()): 1}
    started = [
        subprocess.Popen(
            [sys.executable, "-S", "-m", "fedmx.probe"],
            cwd=ROOT,
            env={**environment(), "LISTEN_ADDRESS": f"0.0.0.0:{at}", "LINK_SECURITY": how},
        )
        for how, at in asked
    ]
    assert [process.wait(HANG_S) for process in started] == list(asked.values())


def test_an_invalid_setting_is_one_line() -> None:
    done = subprocess.run(
        [sys.executable, "-S", "-m", "fedmx.probe"],
        cwd=ROOT,
        env={**environment(), "LISTEN_ADDRESS": "nowhere"},
        capture_output=True,
        text=True,
        timeout=HANG_S,
        check=False,
    )
    assert done.returncode == 2
    [line] = done.stderr.splitlines()
    assert line.startswith("LISTEN_ADDRESS=")


def probe_with(health_file: Path, port: int, security: str) -> int:
    return subprocess.run(
        [sys.executable, "-S", "-m", "fedmx.probe", str(health_file)],
        cwd=ROOT,
        env={**environment(), "LISTEN_ADDRESS": f"127.0.0.1:{port}", "LINK_SECURITY": security},
        timeout=HANG_S,
        check=False,
    ).returncode


def test_an_answer_is_written_to_a_health_file_that_exists(served: tuple[int, str], tmp_path: Path) -> None:
    port, security = served
    file = tmp_path / "serving"
    assert probe_with(file, port, security) == 0
    assert not file.exists()
    file.touch()
    assert probe_with(file, find_free_port(), security) == 1
    assert file.read_text() == ""
    assert probe_with(file, port, security) == 0
    assert file.read_text() != ""


def test_a_probe_that_was_answered_by_a_server_before_its_end_does_not_mark_the_next_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "serving"
    file.touch()

    def answer_and_restart(*_: object, **__: object) -> bool:
        file.unlink()
        file.touch()
        return True

    monkeypatch.setattr(probe, "is_serving", answer_and_restart)
    monkeypatch.setattr(sys, "argv", ["probe", str(file)])
    assert probe.main() == 0
    assert file.read_text() == ""
