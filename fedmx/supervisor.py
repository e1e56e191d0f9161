"""`python -m fedmx.supervisor PROGRAM [HEALTH_FILE]`: runs a program, and restarts it after a crash.

A container engine's restart policy ignores exit codes: it would restart a program with invalid settings just
like one that crashed, and cannot tell when memory ran out. So the engine restarts nothing, and the supervisor
restarts the program, its child, inside of the container. It imports the standard library alone to stay small:
when memory runs out, the kernel kills the larger child.
"""

import json
import os
import signal
import sys
from collections.abc import Iterator
from collections.abc import Set as AbstractSet
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

from fedmx import log, memory, run_state
from fedmx.errors import FederationError, SettingsError
from fedmx.files import read_regular
from fedmx.log import warn
from fedmx.settings import CommonSettings, ServerSettings, environment, load
from fedmx.sizes import show_megabytes, show_setting

_WAYS_OUT = {
    "server": "expected more memory, a smaller model or fewer nodes; the next start resumes the run",
    "client": "expected more memory, a smaller model or a smaller BATCH_SIZE",
}
_PAUSES_S = (0.5, 1.0, 2.0, 4.0, 8.0)
"""Seconds before each restart."""
_BUG = 1
_STOPPING = frozenset({signal.SIGTERM, signal.SIGINT, signal.SIGHUP})
# A tenth of the limit: a child that has just started is no larger than this process.
_CHILD_IS_KILLED_FIRST = "100"


class OutOfMemoryError(FederationError):
    """The kernel killed the program because memory ran out, which would happen again after a restart."""

    exit_code = SettingsError.exit_code


@dataclass(frozen=True)
class _Ending:
    """How a child ended.

    Attributes:
        status: its exit code, or the negative number of the signal that killed it.
        is_stopped: whether the supervisor had passed a stopping signal on to it.
    """

    status: int
    is_stopped: bool

    @property
    def exit_code(self) -> int:
        return self.status if self.status >= 0 else 128 - self.status

    @property
    def is_crash(self) -> bool:
        if self.is_stopped:
            return False
        return self.status == _BUG or (self.status < 0 and -self.status not in _STOPPING)


def supervise(program: str, health_file: Path | None = None) -> int:
    """Run a program to its end, restart it after crashes, and return its exit code.

    Args:
        program: `server` or `client`.
        health_file: exists while the program runs; the health probe writes to it once the program serves.

    Raises:
        OutOfMemoryError: the program was killed because memory ran out.
    """
    # SIGHUP is ignored where nohup started this; the child ignores it too.
    stops = {n for n in _STOPPING if n != signal.SIGHUP or signal.getsignal(n) is not signal.SIG_IGN}
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, {*stops, signal.SIGCHLD})
    for number, pause_s in enumerate(_PAUSES_S, start=1):
        with _health_file(health_file):
            ending = _run(program, stops, mask)
        if not ending.is_crash:
            return ending.exit_code
        count = {"restart": number, "restarts": len(_PAUSES_S)}
        warn("crashed, restarting", program=program, exit_code=ending.exit_code, **count, pause_s=pause_s)
        if stop := signal.sigtimedwait(stops, pause_s):
            return 128 + stop.si_signo
    with _health_file(health_file):
        ending = _run(program, stops, mask)
    if ending.is_crash:
        warn("crashed, not restarted again", program=program, exit_code=ending.exit_code)
    return ending.exit_code


def _run(program: str, stops: AbstractSet[int], mask: AbstractSet[int]) -> _Ending:
    """Start the program, pass stopping signals on to it, and wait for its end.

    Raises:
        OutOfMemoryError: the program was killed because memory ran out.
    """
    kills = memory.count_kills()
    command = [sys.executable, "-m", "fedmx.child", str(os.getpid()), program]
    # The child has its own process group: Ctrl-C on a terminal reaches it once, and its workers can be found.
    pid = os.posix_spawn(sys.executable, command, environment(), setpgroup=0, setsigmask=mask)
    with suppress(OSError):
        Path(f"/proc/{pid}/oom_score_adj").write_text(_CHILD_IS_KILLED_FIRST)
    ending = _wait(pid, stops)
    # Workers that it forked would keep memory, or a GPU's, that the next start needs.
    with suppress(ProcessLookupError):
        os.killpg(pid, signal.SIGKILL)
    if ending.status == -signal.SIGKILL and memory.count_kills() > kills:
        raise OutOfMemoryError(_describe_kill(program))
    return ending


@contextmanager
def _health_file(path: Path | None) -> Iterator[None]:
    """Create an empty file for one start of the program, and remove it with the program's end.

    A probe that began before the end writes to the file that is removed, not to the next one.
    """
    if path is None:
        yield
        return
    # Where the file cannot be written, each probe asks the server.
    with suppress(OSError):
        path.unlink(missing_ok=True)
        path.touch()
    try:
        yield
    finally:
        with suppress(OSError):
            path.unlink(missing_ok=True)


def _wait(pid: int, stops: AbstractSet[int]) -> _Ending:
    is_stopped = False
    while True:
        number = signal.sigwait({*stops, signal.SIGCHLD})
        if number != signal.SIGCHLD:
            os.kill(pid, number)
            is_stopped = True
            continue
        ended, status = os.waitpid(pid, os.WNOHANG)
        if ended:
            return _Ending(os.waitstatus_to_exitcode(status), is_stopped)


def _describe_kill(program: str) -> str:
    limit = memory.find_limit() or memory.find_physical()
    found = f"{limit.name_in_container(program)}={show_setting(limit.size)}"
    return (
        f"{found}: the {program} was killed because memory ran out{_describe_run(program)};"
        f" {_WAYS_OUT[program]}"
    )


def _describe_run(program: str) -> str:
    """Describe the size of the server's run, if one was in progress."""
    if program != "server":
        return ""
    # Before its nodes agree on a model, a run has no sizes.
    with suppress(OSError, ValueError, KeyError, TypeError, SettingsError):
        facts = json.loads(read_regular(load(ServerSettings).runs_dir / "latest" / "run.json"))
        if facts["status"] == "running":
            size, nodes = show_megabytes(facts["model_bytes"]), len(facts["nodes"])
            return f" in run {facts['run_id']}, with {nodes} nodes and a model of {size}"
    return ""


def main() -> NoReturn:
    """Supervise the program that the arguments name, and exit with its exit code."""
    try:
        _configure_log()
        match sys.argv[1:]:
            case [("server" | "client") as program]:
                sys.exit(_supervise_and_settle(program))
            case [("server" | "client") as program, health_file]:
                sys.exit(_supervise_and_settle(program, Path(health_file)))
            case arguments:
                found = log.printable(" ".join(arguments))
                raise SettingsError(f"{found!r}: expected {' or '.join(_WAYS_OUT)}")
    except FederationError as error:
        log.error(str(error))
        sys.exit(error.exit_code)


def _supervise_and_settle(program: str, health_file: Path | None = None) -> int:
    try:
        return supervise(program, health_file)
    finally:
        # A server that was killed could not record that its run was interrupted.
        if program == "server":
            with suppress(SettingsError):
                run_state.settle(load(ServerSettings).runs_dir)


def _configure_log() -> None:
    try:
        settings = load(CommonSettings)
    except SettingsError:
        # The program reports the problems.
        settings = CommonSettings()
    log.configure(settings.log_level, settings.log_format)


if __name__ == "__main__":
    main()
