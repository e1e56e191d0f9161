"""`python -m fedmx.supervisor server`: runs a program as its child, and starts it again after a crash.

An engine's restart policy knows no exit codes: it repeats wrong settings and refusals as it does crashes, and
cannot tell a kill for want of memory from another. So containers are not restarted by their engine; this
process restarts the program in them. It imports the standard library alone, so that the kernel kills its
larger child when memory runs out.
"""

import json
import os
import signal
import sys
from collections.abc import Set as AbstractSet
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

from fedmx import log, memory, run_state
from fedmx.errors import FederationError, SettingsError
from fedmx.log import warn
from fedmx.settings import CommonSettings, ServerSettings, environment, load

_WAYS_OUT = {
    "server": "expected more SERVER_MEMORY, a smaller model or fewer nodes; the next start resumes the run",
    "client": "expected more CLIENT_MEMORY, a smaller model or a smaller BATCH_SIZE",
}
_PAUSES_S = (0.5, 1.0, 2.0, 4.0, 8.0)
"""Seconds before each restart."""
_A_BUG = 1
_STOPPING = frozenset({signal.SIGTERM, signal.SIGINT, signal.SIGHUP})
# A tenth of the limit: a child that has just started is no larger than this process.
_CHILD_IS_KILLED_FIRST = "100"


class OutOfMemoryError(FederationError):
    """The kernel killed the program for want of memory, which another start would not change."""

    exit_code = SettingsError.exit_code


@dataclass(frozen=True)
class _Ending:
    """How a child ended.

    Attributes:
        status: its exit code, or the negative number of the signal that it died of.
        is_stopped: whether it was told to stop before.
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
        return self.status == _A_BUG or (self.status < 0 and -self.status not in _STOPPING)


def supervise(program: str) -> int:
    """Run a program to its end, restarts after crashes included, and return its exit code.

    Args:
        program: `server` or `client`.

    Raises:
        OutOfMemoryError: it was killed for want of memory.
    """
    # Whoever started this with SIGHUP ignored, as nohup does, wants its child to ignore it too.
    stops = {n for n in _STOPPING if n != signal.SIGHUP or signal.getsignal(n) is not signal.SIG_IGN}
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, {*stops, signal.SIGCHLD})
    for number, pause_s in enumerate(_PAUSES_S, start=1):
        ending = _run(program, stops, mask)
        if not ending.is_crash:
            return ending.exit_code
        count = {"restart": number, "restarts": len(_PAUSES_S)}
        warn("crashed, restarting", program=program, exit_code=ending.exit_code, **count, pause_s=pause_s)
        if stop := signal.sigtimedwait(stops, pause_s):
            return 128 + stop.si_signo
    ending = _run(program, stops, mask)
    if ending.is_crash:
        warn("crashed, not restarted again", program=program, exit_code=ending.exit_code)
    return ending.exit_code


def _run(program: str, stops: AbstractSet[int], mask: AbstractSet[int]) -> _Ending:
    """Start the program, pass stopping signals on to it, and wait for its end.

    Raises:
        OutOfMemoryError: it was killed for want of memory.
    """
    kills = memory.count_kills()
    command = [sys.executable, "-m", "fedmx.child", str(os.getpid()), program]
    # In a process group of its own, Ctrl-C on a terminal reaches the child once, and its workers are found.
    pid = os.posix_spawn(sys.executable, command, environment(), setpgroup=0, setsigmask=mask)
    with suppress(OSError):
        Path(f"/proc/{pid}/oom_score_adj").write_text(_CHILD_IS_KILLED_FIRST)
    ending = _wait(pid, stops)
    # Workers that it forked would hold memory, or a GPU's, beside the next one.
    with suppress(ProcessLookupError):
        os.killpg(pid, signal.SIGKILL)
    if ending.status == -signal.SIGKILL and memory.count_kills() > kills:
        raise OutOfMemoryError(_describe_kill(program))
    return ending


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
    setting, limit = f"{program.upper()}_MEMORY", memory.find_limit()
    found = f"{setting}={memory.show_size(limit.size)}" if limit else f"{setting} is not set"
    return (
        f"{found}: the {program} was killed because memory ran out{_describe_run(program)};"
        f" {_WAYS_OUT[program]}"
    )


def _describe_run(program: str) -> str:
    """Return what the record of the server's run says of sizes, if a run was under way."""
    if program != "server":
        return ""
    # Before its nodes agree, a run has no sizes.
    with suppress(OSError, ValueError, KeyError, TypeError, SettingsError):
        facts = json.loads((load(ServerSettings).runs_dir / "latest" / "run.json").read_text())
        if facts["status"] == "running":
            size, nodes = facts["model_bytes"] / 1e6, len(facts["nodes"])
            return f" in run {facts['run_id']}, with {nodes} nodes and a model of {size:.1f} MB"
    return ""


def main() -> NoReturn:
    """Supervise the program that the only argument names, and leave with its exit code."""
    try:
        _configure_log()
        program = " ".join(sys.argv[1:])
        if program not in _WAYS_OUT:
            raise SettingsError(f"{log.printable(program)!r}: expected {' or '.join(_WAYS_OUT)}")
        sys.exit(_supervise_and_settle(program))
    except FederationError as error:
        log.error(str(error))
        sys.exit(error.exit_code)


def _supervise_and_settle(program: str) -> int:
    try:
        return supervise(program)
    finally:
        # A program that was killed has left its run as it was.
        if program == "server":
            with suppress(SettingsError):
                run_state.settle(load(ServerSettings).runs_dir)


def _configure_log() -> None:
    try:
        settings = load(CommonSettings)
    except SettingsError:
        # The program names what is wrong with them.
        settings = CommonSettings()
    log.configure(settings.log_level, settings.log_format)


if __name__ == "__main__":
    main()
