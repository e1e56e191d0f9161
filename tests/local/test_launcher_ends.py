"""How a federation on one machine ends: programs that fail or are killed, signals, and a closed terminal."""

import json
import os
import pty
import signal
import sys

import psutil
import pytest

from fedmx import run_state
from tests.bounds import HANG_S
from tests.local.launching import Launcher


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
