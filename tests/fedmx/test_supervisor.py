"""The supervisor with real child processes: restarts, signals, and processes that must not outlive others."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from fedmx import memory, supervisor
from fedmx.run_state import FORMAT
from tests.fedmx.supervised import QUICK, ROOT, SLOW, WAITS, Supervised, is_alive, wait_until


@pytest.fixture
def supervise(tmp_path: Path) -> Iterator[Callable[..., Supervised]]:
    """Make supervisors, which are killed with the test if they still run."""
    made: list[Supervised] = []

    def start(body: str, program: str = QUICK, health_file: str = "") -> Supervised:
        made.append(Supervised(tmp_path, body, program, health_file))
        return made[-1]

    yield start
    for supervised in made:
        supervised.kill()


@pytest.mark.parametrize("code", [0, 2, 3, 4, 5, 70, 129, 130, 143])
def test_an_exit_code_that_is_no_crash_is_passed_on_silently(
    supervise: Callable[..., Supervised], code: int
) -> None:
    supervised = supervise(f"note('ends'); sys.exit({code})")
    assert supervised.end() == (code, "")
    assert len(supervised.starts) == 1


@pytest.mark.parametrize(
    ("crash", "code"),
    [
        ("sys.exit(1)", 1),
        ("os.kill(os.getpid(), signal.SIGKILL)", 137),
        ("os.kill(os.getpid(), signal.SIGSEGV)", 139),
        ("os.abort()", 134),
    ],
)
def test_a_crash_is_restarted_five_times_with_a_line_each(
    supervise: Callable[..., Supervised], crash: str, code: int
) -> None:
    supervised = supervise(f"note('crashes'); {crash}")
    exit_code, output = supervised.end()
    assert exit_code == code
    assert len(supervised.starts) == 6
    lines = output.splitlines()
    assert len(lines) == 6
    for number, line in enumerate(lines[:5], start=1):
        assert f"restart={number} restarts=5 " in line
    assert all(f"exit_code={code}" in line for line in lines)


def test_a_program_that_recovers_ends_with_its_own_exit_code(supervise: Callable[..., Supervised]) -> None:
    supervised = supervise("note('starts')\nif start < 3: sys.exit(1)")
    code, output = supervised.end()
    assert (code, len(supervised.starts), len(output.splitlines())) == (0, 3, 2)


def test_the_run_of_a_server_that_was_killed_is_interrupted_when_the_container_ends(
    supervise: Callable[..., Supervised], tmp_path: Path
) -> None:
    run = tmp_path / "runs" / "one"
    run.mkdir(parents=True)
    (run / "run.json").write_text(json.dumps({"format": FORMAT, "status": "running"}))
    (run.parent / "latest").symlink_to("one")
    supervised = supervise("note('started'); os.kill(os.getpid(), signal.SIGKILL)")
    assert supervised.end()[0] == 137
    assert json.loads((run / "run.json").read_text())["status"] == "interrupted"


def test_the_pauses_between_restarts_grow_and_stay_short() -> None:
    program = "from fedmx import supervisor; print(*supervisor._PAUSES_S)"
    pauses = [
        float(text) for text in subprocess.check_output([sys.executable, "-c", program], cwd=ROOT).split()
    ]
    assert pauses == sorted(set(pauses))
    assert len(pauses) == 5
    assert sum(pauses) < 30


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130), (signal.SIGHUP, 129)]
)
class TestStops:
    def test_a_stop_reaches_the_program_which_chooses_how_to_end(
        self, supervise: Callable[..., Supervised], number: int, code: int
    ) -> None:
        handles = f"signal.signal({number}, lambda *_: (note('stopped'), sys.exit({code})))"
        supervised = supervise(f"{handles}\n{WAITS}")
        supervised.wait_for_start()
        supervised.process.send_signal(number)
        assert supervised.end() == (code, "")
        assert [text for _, text in supervised.starts] == ["started", "stopped"]

    def test_a_program_that_a_stop_kills_is_not_restarted(
        self, supervise: Callable[..., Supervised], number: int, code: int
    ) -> None:
        supervised = supervise(f"signal.signal({number}, signal.SIG_DFL)\n{WAITS}")
        supervised.wait_for_start()
        supervised.process.send_signal(number)
        assert supervised.end() == (code, "")
        assert len(supervised.starts) == 1

    def test_a_stop_that_is_sent_to_the_program_itself_ends_both(
        self, supervise: Callable[..., Supervised], number: int, code: int
    ) -> None:
        supervised = supervise(f"signal.signal({number}, signal.SIG_DFL)\n{WAITS}")
        os.kill(supervised.wait_for_start(), number)
        assert supervised.end() == (code, "")

    def test_a_stop_between_two_starts_ends_it(
        self, supervise: Callable[..., Supervised], number: int, code: int
    ) -> None:
        supervised = supervise("note('crashes'); sys.exit(1)", SLOW)
        assert "restart=1 restarts=5 " in supervised.read_line()
        supervised.process.send_signal(number)
        assert supervised.end() == (code, "")
        assert len(supervised.starts) == 1


def test_a_program_killed_after_a_stop_is_not_restarted(supervise: Callable[..., Supervised]) -> None:
    supervised = supervise("signal.signal(signal.SIGTERM, lambda *_: note('stopped'))\n" + WAITS)
    child = supervised.wait_for_start()
    supervised.process.terminate()
    supervised.wait_for_start(2)
    os.kill(child, signal.SIGKILL)
    assert supervised.end() == (137, "")


def test_a_hangup_that_nohup_ignores_is_ignored_by_both(supervise: Callable[..., Supervised]) -> None:
    program = f"import signal; signal.signal(signal.SIGHUP, signal.SIG_IGN); {QUICK}"
    supervised = supervise("note(signal.getsignal(signal.SIGHUP).name)\ntime.sleep(60)", program)
    child = supervised.wait_for_start()
    supervised.process.send_signal(signal.SIGHUP)
    os.kill(child, signal.SIGKILL)
    # A hangup that counted as a stop would prevent this restart.
    supervised.wait_for_start(2)
    supervised.process.send_signal(signal.SIGTERM)
    assert supervised.end()[0] == 143
    assert [text for _, text in supervised.starts] == ["SIG_IGN", "SIG_IGN"]


def test_the_program_dies_with_its_supervisor(supervise: Callable[..., Supervised]) -> None:
    supervised = supervise(WAITS)
    child = supervised.wait_for_start()
    supervised.process.kill()
    wait_until(lambda: not is_alive(child))


def test_workers_of_a_crashed_program_do_not_outlive_it(supervise: Callable[..., Supervised]) -> None:
    worker = "worker = subprocess.Popen(['sleep', '60']); note(f'{worker.pid}')"
    supervised = supervise(f"{worker}\nif start == 1: os.kill(os.getpid(), signal.SIGKILL)\ntime.sleep(60)")
    supervised.wait_for_start(2)
    first, second = (int(text) for _, text in supervised.starts)
    wait_until(lambda: not is_alive(first))
    assert is_alive(second)
    supervised.process.terminate()
    assert supervised.end()[0] == 143
    wait_until(lambda: not is_alive(second))


class TestHealthFile:
    def test_it_exists_while_the_program_runs_and_is_empty_after_a_restart(
        self, supervise: Callable[..., Supervised], tmp_path: Path
    ) -> None:
        file = tmp_path / "serving"
        file.write_text("of an earlier container")
        # The first start writes what the probe would have written, and crashes.
        body = "note(os.path.getsize('serving')); Path('serving').write_text('serving')"
        supervised = supervise(f"{body}\nif start == 1: sys.exit(1)\ntime.sleep(60)", health_file="serving")
        supervised.wait_for_start(2)
        assert [text for _, text in supervised.starts] == ["0", "0"]
        supervised.process.terminate()
        supervised.end()
        assert not file.exists()

    def test_it_is_removed_before_the_pause_that_follows_a_crash(
        self, supervise: Callable[..., Supervised], tmp_path: Path
    ) -> None:
        supervised = supervise("sys.exit(1)", SLOW, health_file="serving")
        assert "restart=1 " in supervised.read_line()
        assert not (tmp_path / "serving").exists()

    def test_a_folder_that_cannot_be_written_is_no_error(self, supervise: Callable[..., Supervised]) -> None:
        supervised = supervise("sys.exit(3)", health_file="nowhere/serving")
        assert supervised.end() == (3, "")


def test_the_kernel_kills_the_program_before_its_supervisor(supervise: Callable[..., Supervised]) -> None:
    supervised = supervise(WAITS)
    child = supervised.wait_for_start()

    def score(pid: int) -> int:
        return int(Path(f"/proc/{pid}/oom_score_adj").read_text())

    wait_until(lambda: score(child) > score(supervised.process.pid))


@pytest.mark.parametrize(
    ("facts", "sizes"),
    [
        ('{"status": "running", "run_id": "one", "nodes": {"a": 0, "b": 1}, "model_bytes": 64200000}', True),
        ('{"status": "running", "run_id": "one", "nodes": {}, "model_bytes": null}', False),
        (
            '{"status": "finished", "run_id": "one", "nodes": {"a": 0, "b": 1}, "model_bytes": 64200000}',
            False,
        ),
        ("[]", False),
        ("{", False),
        (None, False),
    ],
)
def test_a_kill_because_memory_ran_out_is_one_line_with_the_sizes_of_the_run_in_progress(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, facts: str | None, *, sizes: bool
) -> None:
    (tmp_path / "latest").mkdir()
    if facts is not None:
        (tmp_path / "latest" / "run.json").write_text(facts)
    monkeypatch.setenv("RUNS_DIR", str(tmp_path))
    monkeypatch.setattr(memory, "find_limit", lambda: memory.Limit(1024**3, "memory.max"))
    line = supervisor._describe_kill("server")
    assert line.startswith("SERVER_MEMORY=1g: ")
    assert ("2 nodes" in line, "64.2 MB" in line) == (sizes, sizes)
    assert supervisor._describe_kill("client").startswith("CLIENT_MEMORY=1g: ")
    monkeypatch.setattr(memory, "find_limit", lambda: None)
    assert supervisor._describe_kill("server").startswith("MemTotal=")


@pytest.mark.parametrize("arguments", [[], ["both"], ["both", "file"], ["server", "file", "file"]])
def test_other_arguments_are_rejected_in_one_line(arguments: list[str]) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "fedmx.supervisor", *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert len(done.stderr.splitlines()) == 1


def test_invalid_settings_are_reported_by_the_program_alone() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "fedmx.supervisor", "server"],
        cwd=ROOT,
        env={"PATH": os.environ["PATH"], "LOG_LEVEL": "LOUD"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    [line] = done.stderr.splitlines()
    assert "LOG_LEVEL" in line


def test_it_needs_the_standard_library_alone() -> None:
    program = "import sys, fedmx.supervisor; print(*{name.partition('.')[0] for name in sys.modules})"
    printed = subprocess.check_output([sys.executable, "-S", "-c", program], cwd=ROOT, text=True)
    assert set(printed.split()) <= {*sys.stdlib_module_names, "fedmx", "__main__"}
