"""Each federation has its own runs folder, and ports that no other one has."""

import socket
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path

import pytest

from fedmx import run_state
from fedmx.settings import ServerSettings, load
from fedmx.values import Address
from local.room import find_room

# Stands in for a server that outlives its launcher: it locks the folder until its input is closed.
SERVER = """
import sys
from pathlib import Path
from fedmx import run_state
lock = run_state.open_lock(Path(sys.argv[1]))
print("locked", flush=True)
sys.stdin.read()
"""


def test_settings_of_the_user_are_not_changed(tmp_path: Path) -> None:
    mine = {"LISTEN_ADDRESS": "127.0.0.1:8080", "RUNS_DIR": "mine", "STATUS_ADDRESS": "off"}
    with find_room(mine, tmp_path) as room:
        assert room == {}
    assert list(tmp_path.iterdir()) == []


def test_simultaneous_federations_have_separate_folders_and_later_ones_the_first_again(
    tmp_path: Path,
) -> None:
    for _ in range(2):
        with ExitStack() as stack:
            rooms = [stack.enter_context(find_room({}, tmp_path)) for _ in range(3)]
            assert [room["RUNS_DIR"] for room in rooms] == ["runs", "runs-2", "runs-3"]
            assert {room["LISTEN_ADDRESS"] for room in rooms} == {"127.0.0.1:0"}


def test_blank_settings_count_as_unset(tmp_path: Path) -> None:
    with find_room({"LISTEN_ADDRESS": " ", "RUNS_DIR": "", "STATUS_ADDRESS": ""}, tmp_path) as room:
        assert sorted(room) == ["LISTEN_ADDRESS", "RUNS_DIR", "STATUS_ADDRESS"]


def test_the_page_has_its_usual_port_unless_that_is_in_use(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        address = Address("127.0.0.1", listener.getsockname()[1])
        monkeypatch.setattr("local.room.DEFAULT_ADDRESS", address)
        with find_room({}, tmp_path) as room:
            assert room["STATUS_ADDRESS"] == "127.0.0.1:0"
    with find_room({}, tmp_path) as room:
        assert room["STATUS_ADDRESS"] == str(address)


def test_a_folder_that_a_server_keeps_locked_is_skipped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("local.room._ENDING_S", 0)
    (tmp_path / "runs").mkdir()
    with run_state.open_lock(tmp_path / "runs"), find_room({}, tmp_path) as room:
        assert room["RUNS_DIR"] == "runs-2"
    with find_room({}, tmp_path) as room:
        assert room["RUNS_DIR"] == "runs"


def test_the_end_of_a_server_that_outlives_its_launcher_is_awaited(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("local.room._ENDING_S", 60)
    (tmp_path / "runs").mkdir()
    command = [sys.executable, "-c", SERVER, str(tmp_path / "runs")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        assert server.stdin is not None
        assert server.stdout.readline() == "locked\n"
        server.stdin.close()
        with find_room({}, tmp_path) as room:
            assert room["RUNS_DIR"] == "runs"


def test_a_folder_that_cannot_be_written_is_left_for_the_server_to_report(tmp_path: Path) -> None:
    (tmp_path / "runs").write_text("")
    with find_room({}, tmp_path) as room:
        assert room["RUNS_DIR"] == "runs"


@pytest.mark.parametrize("text", ["127.0.0.1:0", "[::1]:0"])
def test_port_0_is_valid_for_listening_and_invalid_for_dialling(text: str) -> None:
    assert load(ServerSettings, environ={"LISTEN_ADDRESS": text}).listen_address.port == 0
    with pytest.raises(ValueError, match="port"):
        Address.parse_peer(text)
