"""Runs a plan: starts the programs, monitors them, and decides when the federation has ended and how."""

import signal
from collections.abc import Sequence
from pathlib import Path

from fedmx.errors import FederationError, SettingsError, StopSignal
from local.display import Display
from local.log_lines import is_routine, split_line
from local.plan import Plan
from local.processes import Child, Processes
from local.results import read_rounds

_TICK_S = 0.2
_GRACE_S = 5.0
"""Seconds within which a program that has nothing left to do must end by itself."""

_WRONG_SETTINGS = 2
_TOO_FEW_NODES = 3
_TRAINING_FAILED = 4
_SENT_GOODBYE = (0, _TOO_FEW_NODES, _TRAINING_FAILED)
"""Exit codes of a server that notified its nodes of the end of the run, so that they end too."""


class ProgramsFailedError(FederationError):
    """A program failed; the launcher exits with the exit code of that program."""

    def __init__(self, exit_code: int, message: str) -> None:
        self.exit_code = exit_code
        super().__init__(message)


class Federation:
    """The programs of one plan.

    Attributes:
        run_dir: the folder of the run, once the server has reported it.
    """

    def __init__(self, plan: Plan) -> None:
        self.run_dir: Path | None = None
        self._plan = plan
        # Lines that the server writes before it listens. If it fails to start, they are the reason, and are
        # shown once, as an error.
        self._early_lines: list[str] = []
        self._is_stopping = False
        self._reasons: dict[str, str] = {}
        self._shown: set[str] = set()

    def run(self, display: Display) -> None:
        """Run the federation to its end. No program keeps running afterwards, not even after an error.

        Args:
            display: shows the lines of the programs and the progress.

        Raises:
            SettingsError: the server rejected its settings.
            ProgramsFailedError: the federation failed in another way.
        """
        self._display = display
        with Processes(self._plan.root, self._on_line) as processes:
            try:
                self._run(processes)
            except StopSignal:
                display.show("stopped: ending all programs")
                raise
            finally:
                self._is_stopping = True

    def _run(self, processes: Processes) -> None:
        # Clients start last: until the server listens, another server may answer at its address.
        server, address = self._start_server(processes)
        clients = [
            processes.start(name, "client", {**environment, "SERVER_ADDRESS": address})
            for name, environment in self._plan.clients.items()
        ]
        while server.exit_code is None and not all(client.exit_code for client in clients):
            ended = processes.wait(_TICK_S)
            if ended and ended is not server:
                self._show_end(ended)
            self._show_progress()
        self._conclude(processes, server, clients)

    def _start_server(self, processes: Processes) -> tuple[Child, str]:
        """Start the server and wait until it listens; return it, and the address to dial."""
        server = processes.start("server", "server", self._plan.server)
        while server.ready is None:
            if processes.wait(_TICK_S, until=lambda: server.ready is not None):
                if server.exit_code == _WRONG_SETTINGS and self._early_lines:
                    messages = (split_line(line)[1] for line in self._early_lines)
                    raise SettingsError(map(self._plan.explain, messages))
                self._show_early_lines()
                raise ProgramsFailedError(server.exit_code or 1, self._describe_end(server))
        self._show_early_lines()
        self.run_dir = self._plan.root / server.ready.run_dir
        return server, str(server.ready.address.reachable_locally())

    def _conclude(self, processes: Processes, server: Child, clients: Sequence[Child]) -> None:
        """Give the programs time to end by themselves, and raise an error if the federation failed."""
        # A server without clients waits for new ones until its own timeout, unless it has announced the end.
        is_ending = any(client.exit_code == _TRAINING_FAILED for client in clients)
        if not processes.wait_for([server], _GRACE_S if is_ending else _TICK_S):
            first = clients[0]
            message = f"all {len(clients)} clients failed; {self._describe_end(first)}"
            raise ProgramsFailedError(first.exit_code or 1, message)
        if server.exit_code in _SENT_GOODBYE:
            processes.wait_for(clients, _GRACE_S)
        for client in clients:
            self._show_end(client)
        if server.exit_code:
            raise ProgramsFailedError(server.exit_code, self._describe_end(server))

    def _show_progress(self) -> None:
        if self.run_dir:
            self._display.update(read_rounds(self.run_dir))

    def _show_end(self, client: Child) -> None:
        # A client that ended because of the server's goodbye has already logged the reason.
        if client.exit_code not in (None, 0, _TRAINING_FAILED) and client.name not in self._shown:
            self._shown.add(client.name)
            self._display.show(self._describe_end(client))

    def _describe_end(self, child: Child) -> str:
        code = child.exit_code or 0
        names = {128 + number: number.name for number in signal.Signals}
        reason = self._reasons.get(child.name) or names.get(code)
        return f"{child.name} ended with exit code {code}" + (f": {reason}" if reason else "")

    def _on_line(self, name: str, line: str) -> None:
        level, message = split_line(line)
        # The newest error, or the newest line of a traceback.
        if level in ("ERROR", ""):
            self._reasons[name] = message
        if name == "server" and self.run_dir is None:
            self._early_lines.append(line)
        elif not (self._is_stopping and is_routine(line)):
            self._display.relay(name, line)

    def _show_early_lines(self) -> None:
        for line in self._early_lines:
            self._display.relay("server", line)
