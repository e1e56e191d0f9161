"""The launcher behind `make run`, with small programs standing for the server and the client."""

import json
import os
import pty
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

import psutil
import pytest

from fedmx.errors import SettingsError
from fedmx.local.display import is_routine, split_line
from fedmx.local.plan import make_plan
from fedmx.local.results import Round, RunWatch, read_rounds

ROOT = Path(__file__).resolve().parents[2]

ROUND = {
    "train": {"loss": 0.5, "accuracy": 0.8, "num_examples": 100},
    "evaluate": {"loss": 0.25, "accuracy": 0.9125, "num_examples": 20},
    "nodes": [{}, {}],
    "seconds": {"total": 1.5},
}
SERVER = """
import os, pathlib, signal, sys, time
runs = pathlib.Path(os.environ.get("RUNS_DIR", "runs"))
def train(rounds):
    folder = runs / "run-1"
    folder.mkdir(parents=True)
    (folder / "run.json").write_text('{"model_sha256": "5ee1"}')
    (runs / "latest").symlink_to("run-1")
    with (folder / "history.jsonl").open("w") as history:
        for number in range(1, rounds + 1):
            history.write(f'{{"round": {number}, {os.environ["ROUND"]}\\n')
    (folder / "model.npz").touch()
def say(level, text):
    print(f"12:00:00.000 {level:<7} {text}", file=sys.stderr, flush=True)
def wait(seconds=60):
    say("INFO", "waiting")
    time.sleep(seconds)
exec(os.environ["SERVER_DOES"])
"""
CLIENT = SERVER.replace("SERVER_DOES", "CLIENT_DOES")


class Launcher:
    """A copy of the launcher beside stand-in programs; each does what its variable says, in Python."""

    def __init__(self, root: Path) -> None:
        self.root = root
        shutil.copytree(ROOT / "fedmx", root / "fedmx", ignore=shutil.ignore_patterns("__pycache__"))
        (root / "server.py").write_text(SERVER)
        (root / "client.py").write_text(CLIENT)
        self.started: list[subprocess.Popen[str]] = []

    def start(self, environment: Mapping[str, str], stdout: int = subprocess.PIPE) -> "subprocess.Popen[str]":
        process = subprocess.Popen(
            [sys.executable, "-m", "fedmx.local"],
            cwd=self.root,
            env={"PATH": os.defpath, "ROUND": json.dumps(ROUND)[1:], "CLIENT_DOES": "wait(1)", **environment},
            stdin=subprocess.DEVNULL,
            stdout=stdout,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self.started.append(process)
        return process

    def run(self, **environment: str) -> tuple[int, list[str]]:
        process = self.start(environment)
        output, _ = process.communicate(timeout=30)
        return process.returncode, output.splitlines()

    def start_and_await_programs(self) -> tuple["subprocess.Popen[str]", list[psutil.Process]]:
        process = self.start({"SERVER_DOES": "wait()", "CLIENT_DOES": "wait()"})
        assert process.stdout
        waiting = 0
        while waiting < 3:
            waiting += "waiting" in process.stdout.readline()
        children = psutil.Process(process.pid).children(recursive=True)
        assert len(children) == 3
        return process, children


@pytest.fixture
def launcher(tmp_path: Path) -> Iterator[Launcher]:
    launcher = Launcher(tmp_path)
    yield launcher
    for process in launcher.started:
        process.kill()
        process.communicate()


def test_lines_are_relayed_by_name_and_a_table_and_the_model_end_them(launcher: Launcher) -> None:
    code, lines = launcher.run(ROUNDS="2", SERVER_DOES="say('INFO', 'ready'); train(2)")
    assert code == 0
    assert "server | 12:00:00.000 INFO    ready" in lines
    table = [line.split() for line in lines if line.split()[1:2] == ["2"]]
    assert table == [[str(number), "2", "0.5000", "0.2500", "0.9125", "1.5"] for number in (1, 2)]
    assert lines[-2:] == ["model: runs/run-1/model.npz", "model_sha256: 5ee1"]


def test_the_exit_code_is_the_servers_and_its_last_words_are_repeated(launcher: Launcher) -> None:
    code, lines = launcher.run(SERVER_DOES="train(1); say('ERROR', 'round 2 failed'); sys.exit(4)")
    assert code == 4
    assert lines[-1] == "server ended with exit code 4: round 2 failed"
    assert any(line.split()[:1] == ["1"] for line in lines)  # the round that was finished is in the table


def test_an_older_run_is_not_shown_for_one_that_never_began(launcher: Launcher) -> None:
    launcher.run(SERVER_DOES="train(1)")
    code, lines = launcher.run(SERVER_DOES="sys.exit(1)")
    assert code == 1
    assert not any("model" in line for line in lines)


def test_when_every_client_has_failed_the_server_is_ended_and_the_client_named(launcher: Launcher) -> None:
    started = time.monotonic()
    code, lines = launcher.run(
        SERVER_DOES="wait()", CLIENT_DOES="print('DATA_DIR=x: no such folder'); sys.exit(2)"
    )
    assert code == 2
    assert lines[-1] == "client-1 ended with exit code 2: DATA_DIR=x: no such folder"
    assert "client-2 ended with exit code 2" in lines
    assert time.monotonic() - started < 5


def test_a_server_that_ends_by_itself_after_its_clients_failed_has_the_last_word(launcher: Launcher) -> None:
    code, _ = launcher.run(SERVER_DOES="time.sleep(1); sys.exit(4)", CLIENT_DOES="sys.exit(4)")
    assert code == 4


def test_one_failed_client_is_named_and_does_not_end_the_run(launcher: Launcher) -> None:
    code, lines = launcher.run(
        SERVER_DOES="time.sleep(1); train(1)",
        CLIENT_DOES="sys.exit(5) if os.environ['NODE_NAME'] == 'client-2' else time.sleep(1)",
    )
    assert code == 0
    assert "client-2 ended with exit code 5" in lines


def test_clients_of_a_server_that_never_ran_are_ended_at_once(launcher: Launcher) -> None:
    started = time.monotonic()
    code, _ = launcher.run(SERVER_DOES="sys.exit(2)", CLIENT_DOES="wait()")
    assert code == 2
    assert time.monotonic() - started < 4


def test_clients_have_time_to_end_by_themselves_after_the_goodbye(launcher: Launcher) -> None:
    _, lines = launcher.run(SERVER_DOES="train(1)", CLIENT_DOES="time.sleep(1); say('INFO', 'bye')")
    assert "client-1 | 12:00:00.000 INFO    bye" in lines


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_signal_ends_everything_within_five_seconds(launcher: Launcher, number: int, code: int) -> None:
    process, children = launcher.start_and_await_programs()
    process.send_signal(number)
    output, _ = process.communicate(timeout=5)
    assert process.returncode == code
    assert "Traceback" not in output
    assert not [child for child in children if child.is_running()]


def test_a_program_that_ignores_sigterm_is_killed_within_five_seconds(launcher: Launcher) -> None:
    stubborn = "signal.signal(signal.SIGTERM, signal.SIG_IGN); wait()"
    process = launcher.start({"SERVER_DOES": "wait()", "CLIENT_DOES": stubborn})
    assert process.stdout
    while "client-2 | " not in process.stdout.readline():
        pass
    children = psutil.Process(process.pid).children()
    process.terminate()
    process.communicate(timeout=6)
    assert process.returncode == 143
    assert not [child for child in children if child.is_running()]


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells a child of its parent's death")
def test_no_program_outlives_a_launcher_that_was_killed(launcher: Launcher) -> None:
    process, children = launcher.start_and_await_programs()
    process.kill()
    _, alive = psutil.wait_procs(children, timeout=5)
    assert not alive


def test_a_terminal_shows_progress_and_only_what_is_not_routine(launcher: Launcher) -> None:
    mine, its = pty.openpty()
    does = "say('INFO', 'leased'); say('WARNING', 'refused a node'); train(2); wait(1)"
    process = launcher.start({"ROUNDS": "2", "SERVER_DOES": does, "TERM": "xterm", "COLUMNS": "120"}, its)
    os.close(its)
    shown = "".join(read_all(mine))
    assert process.wait(timeout=10) == 0
    assert "server | 12:00:00.000 WARNING refused a node" in shown
    assert "leased" not in shown
    assert "2/2" in shown
    assert "loss 0.2500 accuracy 0.9125" in shown
    assert "model: runs/run-1/model.npz" in shown


def read_all(terminal: int) -> Iterator[str]:
    while True:
        try:
            part = os.read(terminal, 4096)
        except OSError:  # how Linux says that the other side was closed
            break
        yield part.decode(errors="replace")
    os.close(terminal)


@pytest.mark.parametrize(
    ("environ", "line"),
    [
        ({"CLIENTS": "abc"}, "CLIENTS='abc': expected an integer of at least 1"),
        ({"CLIENTS": "0"}, "CLIENTS='0': expected an integer of at least 1"),
        ({"ROUNDS": "0"}, "ROUNDS='0': expected an integer of at least 1"),
        ({"ROUNDS": "1.5"}, "ROUNDS='1.5': expected an integer of at least"),
    ],
)
def test_a_wrong_number_is_one_line_and_exit_2(environ: Mapping[str, str], line: str) -> None:
    with pytest.raises(SettingsError) as caught:
        make_plan(environ)
    assert str(caught.value).startswith(line)
    assert caught.value.exit_code == 2


def test_wrong_settings_of_all_programs_are_reported_at_once_before_anything_starts() -> None:
    with pytest.raises(SettingsError) as caught:
        make_plan({"CLIENTS": "0", "SEED": "x", "DEVICE": "tpu"})
    assert len(caught.value.problems) == 3


def test_every_client_gets_a_partition_and_a_name_of_its_own() -> None:
    plan = make_plan({"CLIENTS": "3", "ROUNDS": "5", "LEARNING_RATE": "0.01"})
    assert plan.server["NUM_PARTITIONS"] == plan.server["MIN_CLIENTS"] == "3"
    assert plan.server["NUM_ROUNDS"] == "5"
    assert plan.server["LEARNING_RATE"] == "0.01"
    assert [env["NODE_NAME"] for env in plan.clients.values()] == ["client-1", "client-2", "client-3"]
    assert {env["SERVER_ADDRESS"] for env in plan.clients.values()} == {"127.0.0.1:8080"}


def test_what_is_given_wins_over_what_the_number_of_clients_says() -> None:
    plan = make_plan({"CLIENTS": "3", "NUM_PARTITIONS": "6", "MIN_CLIENTS": "2", "NUM_ROUNDS": "9"})
    assert (plan.server["NUM_PARTITIONS"], plan.server["MIN_CLIENTS"]) == ("6", "2")
    assert plan.rounds == 9
    with pytest.raises(
        SettingsError, match=r"^MIN_CLIENTS=4: make run starts CLIENTS=1; expected at most that$"
    ):
        make_plan({"CLIENTS": "1", "MIN_CLIENTS": "4"})


def test_sites_with_data_of_their_own_are_given_no_partitions() -> None:
    assert "NUM_PARTITIONS" not in make_plan({"PARTITION": "none"}).server


@pytest.mark.parametrize(
    ("listening", "dialled"),
    [("0.0.0.0:9000", "127.0.0.1:9000"), ("[::]:9000", "[::1]:9000"), ("10.1.2.3:80", "10.1.2.3:80")],
)
def test_clients_dial_where_the_server_listens(listening: str, dialled: str) -> None:
    plan = make_plan({"LISTEN_ADDRESS": listening, "SERVER_ADDRESS": "elsewhere:1"})
    assert plan.clients["client-1"]["SERVER_ADDRESS"] == dialled
    assert plan.server["LISTEN_ADDRESS"] == listening


@pytest.mark.parametrize(
    ("line", "answer"),
    [
        ("12:34:56.789 INFO    round=1/3 loss=0.3", True),
        ("12:34:56.789 DEBUG   frame", True),
        ("12:34:56.789 WARNING refused a node", False),
        ("12:34:56.789 ERROR   no such folder", False),
        ("Traceback (most recent call last):", False),
        ('{"time": 1.5, "level": "INFO", "message": "x"}', True),
        ('{"time": 1.5, "level": "ERROR", "message": "x"}', False),
        ("{not JSON", False),
        ("[1]", False),
        ("7", False),
        ("", False),
    ],
)
def test_only_log_lines_of_low_levels_are_routine(line: str, answer: bool) -> None:
    assert is_routine(line) is answer


@pytest.mark.parametrize(
    "line",
    [
        "12:34:56.789 ERROR   no such folder",
        '{"level": "ERROR", "message": "no such folder"}',
        "no such folder",
    ],
)
def test_the_message_of_a_line_is_found_in_either_format(line: str) -> None:
    assert split_line(line)[1] == "no such folder"


def test_a_round_without_an_evaluation_is_read() -> None:
    line = {"round": 1, **ROUND, "evaluate": None}
    assert Round.parse(json.dumps(line)) == Round(1, 2, 0.5, None, None, 1.5)


def test_a_line_that_is_still_being_written_is_left_for_later(tmp_path: Path) -> None:
    line = json.dumps({"round": 2, **ROUND})
    (tmp_path / "history.jsonl").write_text(f"{line}\n{line[:40]}")
    assert [row.number for row in read_rounds(tmp_path)] == [2]


def write_run(runs_dir: Path, name: str) -> None:
    (runs_dir / name).mkdir(parents=True, exist_ok=True)
    (runs_dir / name / "run.new").write_text("{}")
    (runs_dir / name / "run.new").replace(runs_dir / name / "run.json")
    (runs_dir / "latest").unlink(missing_ok=True)
    (runs_dir / "latest").symlink_to(name)


@pytest.mark.parametrize("name", ["first", "second"])
def test_a_run_that_starts_or_goes_on_after_the_watch_began_is_found(tmp_path: Path, name: str) -> None:
    write_run(tmp_path, "first")
    watch = RunWatch(tmp_path)
    assert watch.find() is None
    write_run(tmp_path, name)
    found = watch.find()
    assert found
    assert found.name == name
