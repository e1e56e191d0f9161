"""The launcher behind `make run`, with scripts for programs: certificates, output and exit code."""

import subprocess
import sys

import pytest

from fedmx import run_state
from tests.local.launching import Launcher


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
