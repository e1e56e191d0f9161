"""The launcher behind `make run`, with small programs standing for the server and the client."""

import json
import os
import pty
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

import psutil
import pytest

from fedmx import run_state
from tests.bounds import HANG_S
from tests.screens import Terminal

ROOT = Path(__file__).resolve().parents[2]

NODE = {"examples": 50, "seconds": 1.0, "bytes_up": 9, "bytes_down": 9, "partition": 0, "metrics": {}}
ROUND = {
    "train": {"num_examples": 100, "metrics": {"loss": 0.5, "accuracy": 0.8}},
    "evaluate": {"num_examples": 20, "metrics": {"loss": 0.25, "accuracy": 0.9125, "f1": 0.75}},
    "nodes": [{"name": "local.client-1", **NODE}, {"name": "local.client-2", **NODE}],
    "missing": [],
    "left_out": [],
    "rejected": [],
    "seconds": {"total": 1.5},
}
PROGRAM = """
import json, os, pathlib, signal, sys, time
runs = pathlib.Path(os.environ.get("RUNS_DIR", "runs"))
def train(rounds):
    folder = runs / "run-1"
    folder.mkdir(parents=True)
    facts = {"model_sha256": "5ee1", "settings": {"NUM_ROUNDS": int(os.environ.get("ROUNDS", "1"))}}
    (folder / "run.json").write_text(json.dumps(facts))
    (runs / "latest").symlink_to("run-1")
    with (folder / "history.jsonl").open("w") as history:
        for number in range(1, rounds + 1):
            history.write(f'{{"round": {number}, {os.environ["ROUND"]}\\n')
    (folder / "model.npz").touch()
def say(level, text):
    print(f"2026-11-25T12:00:00.000+01:00 {level:<7} {text}", file=sys.stderr, flush=True)
def wait(seconds=1000):
    say("INFO", "waiting")
    time.sleep(seconds)
"""
SERVER = (
    PROGRAM
    + """
exec(os.environ.get("SERVER_FIRST", ""))
with open(int(os.environ["READY_FD"]), "w") as pipe:
    run_dir = runs / os.environ.get("RUN", "run-1")
    url = os.environ.get("URL", "")
    print('{"address": "127.0.0.1:8080", "run_dir": "%s", "url": "%s"}' % (run_dir, url), file=pipe)
say("INFO", "listening")
exec(os.environ["SERVER_DOES"])
"""
)
CLIENT = (
    PROGRAM
    + """
exec(os.environ["CLIENT_DOES"])
"""
)


class Launcher:
    """A copy of the launcher beside stand-in programs; each does what its variable says, in Python."""

    def __init__(self, root: Path) -> None:
        self.root = root
        for package in ("fedmx", "local", "server"):
            shutil.copytree(ROOT / package, root / package, ignore=shutil.ignore_patterns("__pycache__"))
        (root / "server" / "__main__.py").write_text(SERVER)
        (root / "client.py").write_text(CLIENT)
        self.started: list[subprocess.Popen[str]] = []
        self.terminals: list[Terminal] = []
        self.default_environment = {
            "PATH": os.defpath,
            "ROUND": json.dumps(ROUND)[1:],
            "CLIENT_DOES": "",
            "LINK_SECURITY": "insecure",  # the stand-ins show no certificates
        }

    def be_patient(self) -> None:
        """Have the launcher give programs more time to end by themselves than a test waits for it."""
        path = self.root / "local" / "federation.py"
        source = path.read_text()
        assert "\n_GRACE_S = 5.0\n" in source
        path.write_text(source.replace("\n_GRACE_S = 5.0\n", f"\n_GRACE_S = {2 * HANG_S}\n"))

    def start(self, environment: Mapping[str, str], stdout: int = subprocess.PIPE) -> "subprocess.Popen[str]":
        process = subprocess.Popen(
            [sys.executable, "-m", "local"],
            cwd=self.root,
            env={**self.default_environment, **environment},
            stdin=subprocess.DEVNULL,
            stdout=stdout,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self.started.append(process)
        return process

    def start_on_terminal(self, environment: Mapping[str, str], size: tuple[int, int]) -> Terminal:
        command = [sys.executable, "-m", "local"]
        terminal = Terminal(
            command, {**self.default_environment, "TERM": "xterm", **environment}, self.root, size
        )
        self.terminals.append(terminal)
        return terminal

    def run(self, **environment: str) -> tuple[int, list[str]]:
        process = self.start(environment)
        output, _ = process.communicate(timeout=HANG_S)
        return process.returncode, output.splitlines()

    def start_and_await_programs(
        self, server_does: str = "wait()", **environment: str
    ) -> tuple["subprocess.Popen[str]", list[psutil.Process]]:
        process = self.start({"SERVER_DOES": server_does, "CLIENT_DOES": "wait()", **environment})
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
    for terminal in launcher.terminals:
        terminal.close()


def test_lines_are_shown_with_their_programs_name_and_followed_by_a_table_and_the_model(
    launcher: Launcher,
) -> None:
    code, lines = launcher.run(ROUNDS="2", SERVER_DOES="say('INFO', 'ready'); train(2)")
    assert code == 0
    assert "server | 12:00:00.000 INFO    ready" in lines
    table = [line.split() for line in lines if line.split()[:1] in (["1"], ["2"])]
    assert table == [[str(number), "2", "0.5000", "0.2500", "0.9125", "0.7500", "1.50"] for number in (1, 2)]
    assert lines[-3:] == [
        "model: runs/run-1/model.npz",
        "model_sha256: 5ee1",
        'details: make runs ARGS="show latest"',
    ]


def test_certificates_are_issued_once_and_each_program_has_its_own_folder(launcher: Launcher) -> None:
    show = "say('INFO', ' '.join([certs := os.environ['CERTS_DIR'], *sorted(os.listdir(certs))]))"
    given = {"LINK_SECURITY": "mtls", "SERVER_DOES": f"{show}; train(1)", "CLIENT_DOES": f"{show}; wait()"}
    pki = launcher.root / ".fedmx" / "pki"
    code, first = launcher.run(**given)
    assert code == 0
    assert first[0] == f"created an authority and certificates in {pki}"
    assert {line.partition(str(pki))[2] for line in first[1:]} >= {
        "/server authority.crt revoked.txt server.crt server.key",
        "/sites/local authority.crt site.crt site.key",
    }
    key = (pki / "server" / "server.key").read_bytes()
    _, again = launcher.run(LINK_SECURITY="mtls", SERVER_DOES="")
    assert first[0] not in again
    assert (pki / "server" / "server.key").read_bytes() == key


def test_a_reissue_is_shown_and_names_from_earlier_runs_remain(launcher: Launcher) -> None:
    certificate = launcher.root / ".fedmx" / "pki" / "server" / "server.crt"
    launcher.run(LINK_SECURITY="mtls", SERVER_DOES="", SERVER_NAMES="fl.example.org")
    before = certificate.read_bytes()
    _, lines = launcher.run(LINK_SECURITY="mtls", SERVER_DOES="")
    assert certificate.read_bytes() == before
    assert "issued" not in "".join(lines)
    _, lines = launcher.run(LINK_SECURITY="mtls", SERVER_DOES="", SERVER_NAMES="192.0.2.7")
    (line,) = [line for line in lines if line.startswith("issued a certificate to the server, ")]
    assert "names added (192.0.2.7)" in line
    assert "removed" not in line


def test_a_name_in_server_names_that_cannot_be_removed_is_a_warning(launcher: Launcher) -> None:
    code, lines = launcher.run(LINK_SECURITY="mtls", SERVER_DOES="", SERVER_NAMES="-fl.example.og")
    assert code == 0
    [line] = [line for line in lines if line.startswith("WARNING ")]
    assert "fl.example.og" in line


def test_the_exit_code_is_the_servers_and_its_error_is_the_final_line(launcher: Launcher) -> None:
    code, lines = launcher.run(SERVER_DOES="train(1); say('ERROR', 'round 2 failed'); sys.exit(4)")
    assert code == 4
    assert lines[-1] == "server ended with exit code 4: round 2 failed"
    assert any(line.split()[:1] == ["1"] for line in lines)  # the round that was finished is in the table


@pytest.mark.parametrize(
    ("resume", "command"),
    [
        ("", "the same command"),
        ("force", "the same command"),
        ("never", "the same command with RESUME=auto"),
    ],
)
def test_an_unfinished_run_is_shown_with_how_to_resume_it(
    launcher: Launcher, resume: str, command: str
) -> None:
    does = "train(2); (runs / 'run-1' / 'model.npz').unlink(); sys.exit(4)"
    _, lines = launcher.run(SERVER_DOES=does, RESUME=resume)
    hint = f"{command} resumes it after round 2; RESUME=never starts a new run"
    assert f"unfinished: runs/run-1; {hint}" in lines


def test_an_unfinished_run_in_a_second_folder_is_shown_with_the_setting_that_resumes_it(
    launcher: Launcher,
) -> None:
    does = "train(2); (runs / 'run-1' / 'model.npz').unlink(); sys.exit(4)"
    (launcher.root / "runs").mkdir()
    with run_state.open_lock(launcher.root / "runs", ".launcher"):
        _, lines = launcher.run(SERVER_DOES=does, RESUME="never")
    assert lines[0] == "runs is in use by another run; this run is written to runs-2"
    assert lines[-2].startswith("unfinished: runs-2/run-1; ")
    assert "the same command with RUNS_DIR=runs-2 RESUME=auto resumes it" in lines[-2]


def test_clients_dial_where_the_server_reports_that_it_listens(launcher: Launcher) -> None:
    show = "say('INFO', 'dialling ' + os.environ['SERVER_ADDRESS'])"
    for lines in (
        launcher.run(SERVER_DOES="time.sleep(1)", CLIENT_DOES=show)[1],
        launcher.run(SERVER_DOES="time.sleep(1)", CLIENT_DOES=show, LISTEN_ADDRESS="127.0.0.1:7")[1],
    ):
        assert any("client-1" in line and "dialling 127.0.0.1:8080" in line for line in lines), lines


def test_an_older_run_is_not_shown_when_the_new_one_never_began(launcher: Launcher) -> None:
    launcher.run(SERVER_DOES="train(1)")
    code, lines = launcher.run(SERVER_DOES="sys.exit(1)", RUN="run-2")
    assert code == 1
    assert not any("model" in line for line in lines)


def test_when_every_client_has_failed_the_server_is_ended_with_their_exit_code_and_reason(
    launcher: Launcher,
) -> None:
    launcher.be_patient()
    does = "say('ERROR', 'DATA_DIR=x: no such folder'); sys.exit(2)"
    code, lines = launcher.run(SERVER_DOES="wait()", CLIENT_DOES=does)
    assert code == 2
    assert lines[-1] == "both clients ended with exit code 2: DATA_DIR=x: no such folder"
    assert "".join(lines).count("no such folder") == 1


def test_clients_that_failed_for_different_reasons_are_reported_with_each(launcher: Launcher) -> None:
    launcher.be_patient()
    does = "say('ERROR', 'odd' if os.environ['NODE_NAME'][-1] in '13' else 'even'); sys.exit(2)"
    code, lines = launcher.run(SERVER_DOES="wait()", CLIENT_DOES=does, CLIENTS="3")
    assert code == 2
    assert lines[-2:] == [
        "2 of 3 clients ended with exit code 2: odd",
        "client-2 ended with exit code 2: even",
    ]


SITES_FAIL = """
name = os.environ["NODE_NAME"]
if name == "east":
    wait()
say("ERROR", f"{os.environ['DATA_DIR']}/rows.csv:5: wrong")
sys.exit(2)
"""


def make_sites(launcher: Launcher) -> dict[str, str]:
    """Make a folder for each of three sites, of which one has no mistake, and return the settings."""
    for name in ("east", "north", "south"):
        (launcher.root / "sites" / name).mkdir(parents=True)
    return {"DATA_DIR": str(launcher.root / "sites" / "{site}"), "CLIENT_DOES": SITES_FAIL}


def test_sites_whose_data_is_wrong_end_the_federation_at_once_with_their_code_and_reasons(
    launcher: Launcher,
) -> None:
    launcher.be_patient()
    code, lines = launcher.run(**make_sites(launcher), SERVER_DOES="wait()")
    assert code == 2
    assert sorted(lines[-2:]) == [
        f"{name} ended with exit code 2: {launcher.root}/sites/{name}/rows.csv:5: wrong"
        for name in ("north", "south")
    ]


def test_a_server_that_can_begin_with_fewer_sites_is_not_ended(launcher: Launcher) -> None:
    code, _ = launcher.run(**make_sites(launcher), SERVER_DOES="time.sleep(3)", MIN_CLIENTS="1")
    assert code == 0


@pytest.mark.parametrize("stray", ["", "say('ERROR', 'an error before'); "])
def test_the_reason_of_a_killed_program_is_the_signal_and_no_line_of_a_library(
    launcher: Launcher, stray: str
) -> None:
    code, lines = launcher.run(
        SERVER_DOES=f"{stray}print('EMA rounds 1', flush=True); os.kill(os.getpid(), 9)"
    )
    assert code == 137
    assert lines[-1] == "server ended with exit code 137: killed by SIGKILL"
    assert "server | EMA rounds 1" in lines
    assert "".join(lines).count("an error before") == bool(stray)


def test_an_error_is_not_replaced_by_a_line_of_a_library(launcher: Launcher) -> None:
    does = "say('ERROR', 'round 2 failed'); print('EMA rounds 1', flush=True); sys.exit(4)"
    _, lines = launcher.run(SERVER_DOES=does)
    assert lines[-1] == "server ended with exit code 4: round 2 failed"
    assert "".join(lines).count("round 2 failed") == 1


def test_an_error_of_a_program_that_goes_on_is_shown_in_its_place(launcher: Launcher) -> None:
    code, lines = launcher.run(SERVER_DOES="say('ERROR', 'a bug'); say('INFO', 'next'); train(1)")
    assert code == 0
    position = lines.index("server | 12:00:00.000 ERROR   a bug")
    assert lines[position + 1] == "server | 12:00:00.000 INFO    next"


@pytest.mark.parametrize("code", [2, 3])
def test_an_older_run_is_not_shown_when_the_server_refuses_to_resume_it(
    launcher: Launcher, code: int
) -> None:
    launcher.run(SERVER_DOES="train(2); (runs / 'run-1' / 'model.npz').unlink(); sys.exit(4)")
    found, lines = launcher.run(SERVER_DOES=f"say('ERROR', 'refused'); sys.exit({code})")
    assert found == code
    assert lines[-1] == f"server ended with exit code {code}: refused"
    assert not any("unfinished" in line or "train loss" in line for line in lines)


def test_the_first_of_several_runs_has_no_line_about_its_folder(launcher: Launcher) -> None:
    _, lines = launcher.run(SERVER_DOES="train(1)")
    assert not any("in use" in line for line in lines)


def test_the_hint_does_not_repeat_a_folder_that_the_user_has_set(launcher: Launcher) -> None:
    does = "train(2); (runs / 'run-1' / 'model.npz').unlink(); sys.exit(4)"
    _, lines = launcher.run(SERVER_DOES=does, RUNS_DIR="mine")
    [hint] = [line for line in lines if line.startswith("unfinished: mine/run-1; ")]
    assert "RUNS_DIR" not in hint


def test_the_command_for_details_has_the_folder_of_the_run(launcher: Launcher) -> None:
    _, lines = launcher.run(SERVER_DOES="train(1)", RUNS_DIR="my runs")
    assert lines[-1] == "details: make runs ARGS=\"show latest\" RUNS_DIR='my runs'"


def test_a_number_that_follows_clients_is_named_so(launcher: Launcher) -> None:
    does = "say('INFO', 'lower NUM_PARTITIONS'); say('ERROR', 'MIN_CLIENTS=2: too few'); sys.exit(3)"
    _, lines = launcher.run(SERVER_DOES=does)
    assert "server | 12:00:00.000 INFO    lower CLIENTS" in lines
    assert lines[-1].endswith(": CLIENTS=2: too few")
    _, lines = launcher.run(SERVER_DOES=does, NUM_PARTITIONS="2", MIN_CLIENTS="2")
    assert "server | 12:00:00.000 INFO    lower NUM_PARTITIONS" in lines


def test_a_lost_server_is_no_warning_while_everything_is_being_stopped(launcher: Launcher) -> None:
    says = "say('WARNING', 'lost the server'), say('WARNING', 'other'), os._exit(0)"
    lost = f"signal.signal(15, lambda *_: ({says}))"
    process = launcher.start({"SERVER_DOES": "wait()", "CLIENT_DOES": f"{lost}; wait()", "CLIENTS": "1"})
    assert process.stdout
    while "client-1 | " not in process.stdout.readline():
        pass
    process.terminate()
    output, _ = process.communicate(timeout=HANG_S)
    assert "other" in output
    assert "lost the server" not in output


def test_the_end_of_clients_that_were_notified_of_a_failed_run_is_not_reported(launcher: Launcher) -> None:
    code, lines = launcher.run(
        SERVER_DOES="time.sleep(1); say('ERROR', 'round 2 failed'); sys.exit(4)",
        CLIENT_DOES="say('ERROR', 'the server reports that the run failed: round 2 failed'); sys.exit(4)",
    )
    assert code == 4
    ends = [line for line in lines if "ended with exit code" in line]
    assert ends == ["server ended with exit code 4: round 2 failed"]


def test_one_failed_client_is_reported_and_does_not_end_the_run(launcher: Launcher) -> None:
    code, lines = launcher.run(
        SERVER_DOES="time.sleep(1); train(1)",
        CLIENT_DOES="say('ERROR', 'bad'); sys.exit(5 if os.environ['NODE_NAME'] == 'client-2' else 0)",
    )
    assert code == 0
    assert [line for line in lines if "ended with" in line] == ["client-2 ended with exit code 5: bad"]


def test_a_client_that_was_killed_is_started_again_a_few_times(launcher: Launcher) -> None:
    kill = "os.kill(os.getpid(), 9) if os.environ['NODE_NAME'] == 'client-2' else wait()"
    process = launcher.start({"SERVER_DOES": "wait()", "CLIENT_DOES": kill})
    assert process.stdout
    lines: list[str] = []
    while not lines or "client-2" not in lines[-1] or "restart" in lines[-1]:
        lines.append(process.stdout.readline())
        assert lines[-1], lines
    *restarts, end = [line for line in lines if line.startswith("client-2 ended with exit code 137: ")]
    assert [line.rpartition("restart ")[2].strip() for line in restarts] == [f"{n} of 5" for n in range(1, 6)]
    assert end == lines[-1]
    process.terminate()
    output, _ = process.communicate(timeout=HANG_S)
    assert "client-2" not in output


def test_clients_of_a_server_that_ended_without_a_goodbye_are_ended_at_once(launcher: Launcher) -> None:
    launcher.be_patient()
    code, _ = launcher.run(SERVER_DOES="sys.exit(2)", CLIENT_DOES="wait()")
    assert code == 2


def test_the_errors_of_a_server_that_cannot_listen_are_shown_once_and_no_client_is_started(
    launcher: Launcher,
) -> None:
    first = "time.sleep(0.3); print('A=1: wrong', file=sys.stderr); say('INFO', 'status page')"
    first += "; say('ERROR', 'B=2: in use'); sys.exit(2)"
    code, lines = launcher.run(SERVER_FIRST=first, CLIENT_DOES="say('ERROR', 'started')")
    assert (code, lines) == (2, ["A=1: wrong", "B=2: in use"])


def test_a_bug_before_the_server_listens_keeps_its_traceback(launcher: Launcher) -> None:
    code, lines = launcher.run(SERVER_FIRST="{}['nothing']", CLIENT_DOES="say('ERROR', 'started')")
    assert code == 1
    assert lines[0] == "server | Traceback (most recent call last):"
    assert lines[-2:] == [
        "server | KeyError: 'nothing'",
        "server ended with exit code 1: KeyError: 'nothing'",
    ]


def test_the_run_of_a_server_that_was_killed_is_interrupted(launcher: Launcher) -> None:
    does = "train(1); pathlib.Path(runs, 'run-1/model.npz').unlink()"
    record = json.dumps({"format": run_state.FORMAT, "status": "running"})
    does += f"; pathlib.Path(runs, 'run-1/run.json').write_text({record!r})"
    does += "; os.kill(os.getpid(), 9)"
    code, lines = launcher.run(SERVER_DOES=does)
    assert code == 137
    assert json.loads((launcher.root / "runs" / "latest" / "run.json").read_text())["status"] == "interrupted"
    assert any(line.startswith("unfinished: ") for line in lines)


def test_a_run_that_began_before_the_server_had_the_folder_is_not_shown(launcher: Launcher) -> None:
    code, lines = launcher.run(SERVER_FIRST="train(1); say('ERROR', 'in use'); sys.exit(2)")
    assert (code, lines) == (2, ["in use"])


def test_a_server_that_logs_nothing_is_ready_all_the_same(launcher: Launcher) -> None:
    code, lines = launcher.run(SERVER_DOES="train(1)", SERVER_FIRST="say = lambda *_: None")
    assert code == 0
    assert not [line for line in lines if line.startswith("server | ")]
    assert "model: runs/run-1/model.npz" in lines


def test_clients_have_time_to_end_by_themselves_after_the_goodbye(launcher: Launcher) -> None:
    _, lines = launcher.run(SERVER_DOES="train(1)", CLIENT_DOES="time.sleep(1); say('INFO', 'bye')")
    assert "client-1 | 12:00:00.000 INFO    bye" in lines


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130), (signal.SIGHUP, 129)]
)
def test_a_signal_ends_everything_with_the_rounds_so_far(launcher: Launcher, number: int, code: int) -> None:
    process, children = launcher.start_and_await_programs("train(1); wait()")
    process.send_signal(number)
    output, _ = process.communicate(timeout=HANG_S)
    assert process.returncode == code
    first, *table = output.splitlines()
    assert first == "stopped: ending all programs"
    assert [line.split() for line in table if line.split()[:1] == ["1"]] == [
        ["1", "2", "0.5000", "0.2500", "0.9125", "0.7500", "1.50"]
    ]
    assert not [child for child in children if child.is_running()]


@pytest.mark.parametrize(
    ("resume", "command"), [("", "the same command"), ("never", "the same command with RESUME=auto")]
)
def test_a_signal_before_the_end_of_round_1_is_followed_by_the_command_that_begins_again(
    launcher: Launcher, resume: str, command: str
) -> None:
    record = json.dumps({"format": run_state.FORMAT, "status": "running"})
    does = "train(0); pathlib.Path(runs, 'run-1/model.npz').unlink()"
    does += f"; pathlib.Path(runs, 'run-1/run.json').write_text({record!r}); wait()"
    process, _ = launcher.start_and_await_programs(does, RESUME=resume)
    process.send_signal(signal.SIGINT)
    output, _ = process.communicate(timeout=HANG_S)
    assert process.returncode == 130
    stopped, line = output.splitlines()
    assert stopped == "stopped: ending all programs"
    assert line == f"no round was finished; {command} begins the run again"


def test_a_client_does_not_repeat_the_federations_result(launcher: Launcher) -> None:
    says = "say('INFO', 'own result round=1'); say('INFO', 'federation result round=1')"
    code, lines = launcher.run(SERVER_DOES="train(1)", CLIENT_DOES=says)
    assert code == 0
    assert sum("own result" in line for line in lines) == 2
    assert not [line for line in lines if "federation result" in line]


def test_closing_the_terminal_ends_everything_with_129(launcher: Launcher) -> None:
    mine, its = pty.openpty()
    mark = "runs.mkdir(exist_ok=True); (runs / os.environ.get('NODE_NAME', 'server')).touch(); wait()"
    does = {"SERVER_DOES": mark, "CLIENT_DOES": mark}
    process = launcher.start({**does, "TERM": "xterm"}, its)
    os.close(its)
    marks = [launcher.root / "runs" / name for name in ("server", "client-1", "client-2")]
    while not all(path.exists() for path in marks):
        # The screen is redrawn periodically.
        os.read(mine, 4096)
    children = psutil.Process(process.pid).children()
    os.close(mine)
    process.send_signal(signal.SIGHUP)  # as the kernel does to the terminal's foreground
    assert process.wait(timeout=HANG_S) == 129
    assert not [child for child in children if child.is_running()]


def test_an_argument_is_refused_in_one_line(launcher: Launcher) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "local", "--clients", "3"],
        cwd=launcher.root,
        env={},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout) == (2, "")
    [line] = done.stderr.splitlines()
    assert "--clients 3" in line


def test_a_program_that_ignores_sigterm_is_killed(launcher: Launcher) -> None:
    stubborn = "signal.signal(signal.SIGTERM, signal.SIG_IGN); wait()"
    process = launcher.start({"SERVER_DOES": "wait()", "CLIENT_DOES": stubborn})
    assert process.stdout
    while "client-2 | " not in process.stdout.readline():
        pass
    children = psutil.Process(process.pid).children()
    process.terminate()
    process.communicate(timeout=HANG_S)
    assert process.returncode == 143
    assert not [child for child in children if child.is_running()]


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells a child of its parent's death")
def test_no_program_outlives_a_launcher_that_was_killed(launcher: Launcher) -> None:
    process, children = launcher.start_and_await_programs()
    process.kill()
    _, alive = psutil.wait_procs(children, timeout=HANG_S)
    assert not alive


def has_row(text: str, number: str) -> bool:
    """Whether a table on the screen has a row for a round."""
    return any(line.split()[:1] == [number] and "0.2500" in line for line in text.splitlines())


GO_ON = "while not pathlib.Path('go').exists(): time.sleep(0.1)"


@pytest.mark.parametrize("size", [(80, 24), (40, 12)])
def test_a_terminal_shows_a_screen_while_programs_run_and_the_tables_alone_at_the_end(
    launcher: Launcher, size: tuple[int, int]
) -> None:
    does = f"say('INFO', 'leased'); say('WARNING', 'odd'); train(2)\n{GO_ON}"
    terminal = launcher.start_on_terminal({"ROUNDS": "2", "SERVER_DOES": does}, size)
    assert terminal.read_until(lambda text: has_row(text, "2") and " odd" in text)
    assert "round 2 of 2" in terminal.screen.text
    assert "server | 12:00:00.000 WARNING odd" in terminal.screen.text
    (launcher.root / "go").touch()
    text = terminal.read_all()
    assert terminal.process.wait(timeout=HANG_S) == 0
    assert "leased" not in text
    assert "round 2 of 2" not in text
    assert "model: runs/run-1/model.npz" in text


def test_a_terminal_that_cannot_be_drawn_on_shows_lines(launcher: Launcher) -> None:
    does = "say('INFO', 'leased'); train(1)"
    terminal = launcher.start_on_terminal({"SERVER_DOES": does, "TERM": "dumb"}, (80, 24))
    text = terminal.read_all()
    assert terminal.process.wait(timeout=HANG_S) == 0
    assert "server | 12:00:00.000 INFO    leased" in text
    assert "\x1b" not in terminal.codes


def test_a_terminal_without_colours_shows_none(launcher: Launcher) -> None:
    does = f"train(2)\n{GO_ON}"
    terminal = launcher.start_on_terminal({"ROUNDS": "2", "SERVER_DOES": does, "NO_COLOR": "1"}, (80, 24))
    assert terminal.read_until(lambda text: "round 2 of 2" in text)
    assert not re.search(r"\x1b\[[0-9;]*3[0-9][;m]", terminal.codes)


def test_ctrl_c_on_a_terminal_leaves_the_rounds_so_far(launcher: Launcher) -> None:
    terminal = launcher.start_on_terminal({"ROUNDS": "9", "SERVER_DOES": "train(2); wait()"}, (80, 24))
    assert terminal.read_until(lambda text: "round 2 of 9" in text)
    terminal.process.send_signal(signal.SIGINT)
    text = terminal.read_all()
    assert terminal.process.wait(timeout=HANG_S) == 130
    assert "stopped: ending all programs" in text
    assert "round 2 of 9" not in text
    # The cursor that the screen has hidden.
    assert terminal.codes.rindex("\x1b[?25h") > terminal.codes.rindex("\x1b[?25l")


def test_without_a_terminal_the_page_is_announced_in_one_line(launcher: Launcher) -> None:
    url = "http://127.0.0.1:8081/"
    _, lines = launcher.run(SERVER_DOES="train(1)", URL=url)
    assert lines.count(f"status page: {url}") == 1
    _, lines = launcher.run(SERVER_DOES="train(1)", URL=url, SERVER_FIRST=f"say('INFO', 'page url={url}')")
    assert len([line for line in lines if url in line]) == 1


IN_USE = """
if os.environ["STATUS_ADDRESS"] != "127.0.0.1:0":
    say("ERROR", f"STATUS_ADDRESS={os.environ['STATUS_ADDRESS']}: in use")
    sys.exit(2)
"""


def test_a_page_whose_port_was_taken_in_the_meantime_has_another_one(launcher: Launcher) -> None:
    code, lines = launcher.run(SERVER_FIRST=IN_USE, SERVER_DOES="train(1)")
    assert code == 0
    assert not [line for line in lines if "in use" in line]
    code, lines = launcher.run(SERVER_FIRST=IN_USE, STATUS_ADDRESS="127.0.0.1:7")
    assert (code, lines) == (2, ["STATUS_ADDRESS=127.0.0.1:7: in use"])
