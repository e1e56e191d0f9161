"""Runs a plan: starts the programs, follows them, and decides when the federation is over and how it went."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from fedmx.errors import FederationError
from fedmx.local.display import Display, is_routine, split_line
from fedmx.local.plan import Plan
from fedmx.local.processes import Child, Processes
from fedmx.local.results import RunWatch, read_rounds

_TICK_S = 0.2
_GRACE_S = 5.0
"""Seconds in which a program that has nothing left to do ends by itself."""

_WRONG_SETTINGS = 2
_TOO_FEW_NODES = 3
_TRAINING_FAILED = 4
_SAID_GOODBYE = (0, _TOO_FEW_NODES, _TRAINING_FAILED)
"""Exit codes of a server that told its nodes how the run ended; they end with it."""


class ProgramFailedError(FederationError):
    """A program ended with another exit code than 0, which becomes that of the launcher."""

    def __init__(self, child: Child) -> None:
        """Name the program and repeat the last thing that it complained about."""
        self.exit_code = child.exit_code or 1
        complaints = [line for line in child.last_lines if line and not is_routine(line)]
        words = f": {split_line(complaints[-1])[1]}" if complaints else ""
        super().__init__(f"{child.name} ended with exit code {self.exit_code}{words}")


@dataclass(frozen=True)
class Outcome:
    """The run's folder, where there is one, and what went wrong, where something did."""

    folder: Path | None
    failure: ProgramFailedError | None


def run(plan: Plan, display: Display) -> Outcome:
    """Run a federation to its end. Whatever happens, no program is left behind."""
    watch = RunWatch(plan.runs_dir)
    with Processes(plan.root, display.relay) as processes:
        server = processes.start("server", "server", plan.server)
        clients = [processes.start(name, "client", plan.clients[name]) for name in plan.clients]
        while server.exit_code is None and not _are_lost(clients):
            ended = processes.wait(_TICK_S)
            if ended and ended is not server and ended.exit_code:
                display.say(f"{ended.name} ended with exit code {ended.exit_code}")
            folder = watch.find()
            display.update(read_rounds(folder) if folder else [])
        culprit = _bring_to_an_end(processes, server, clients)
    failure = ProgramFailedError(culprit) if culprit else None
    # A server that ended with 2 began no run: what then changed in the folder is another server's.
    return Outcome(None if failure and failure.exit_code == _WRONG_SETTINGS else watch.find(), failure)


def _are_lost(clients: Sequence[Child]) -> bool:
    return all(client.exit_code for client in clients)  # neither running nor ended well


def _bring_to_an_end(processes: Processes, server: Child, clients: Sequence[Child]) -> Child | None:
    """Give the programs time to end by themselves; the one whose exit code counts, if it failed."""
    # A server without clients waits for others until its own timeout, unless it was it that sent them away.
    is_ending = any(client.exit_code == _TRAINING_FAILED for client in clients)
    if not processes.wait_for([server], _GRACE_S if is_ending else _TICK_S):
        return clients[0]
    if server.exit_code in _SAID_GOODBYE:
        processes.wait_for(clients, _GRACE_S)
    return server if server.exit_code else None
