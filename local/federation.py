"""Runs a plan: starts the programs, monitors them, and decides when the federation has ended and how."""

import time
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path

from fedmx.errors import FederationError, SettingsError, StopSignal
from local.display import Display
from local.endings import Ending, Errors, describe_clients
from local.log_lines import is_repetition, is_result_of_stop, is_routine, split_line
from local.plan import Plan
from local.processes import Child, Processes
from local.results import read_rounds

_TICK_S = 0.2
_GRACE_S = 5.0
"""Seconds within which a program that has nothing left to do must end by itself."""
_SETTLE_S = 3.0
"""Seconds in which other clients may fail for the same reason, so that it is shown once."""
_MOST_RESTARTS = 5
"""How often a client that a signal has killed is started again, as by the supervisor in a container."""

_WRONG_SETTINGS = 2
_TOO_FEW_NODES = 3
_TRAINING_FAILED = 4
_NOT_BEGUN = (_WRONG_SETTINGS, _TOO_FEW_NODES)
_SENT_GOODBYE = (0, _TOO_FEW_NODES, _TRAINING_FAILED)
"""Exit codes of a server that notified its nodes of the end of the run, so that they end too."""


class ProgramsFailedError(FederationError):
    """A program failed; the launcher exits with the exit code of that program."""

    def __init__(self, exit_code: int, message: str) -> None:
        self.exit_code = exit_code
        super().__init__(message)


class Federation:
    """The programs of one plan.

    Args:
        plan: what to start.
        fallback: settings that replace those the launcher has chosen, if the server rejects these.

    Attributes:
        run_dir: the folder of the run, once the server has reported it.
    """

    def __init__(self, plan: Plan, fallback: Mapping[str, str]) -> None:
        self.run_dir: Path | None = None
        self._plan = plan
        self._fallback = fallback
        # Lines that the server writes before it listens. If it fails to start, they are the reason, and are
        # shown once, as an error.
        self._early_lines: list[str] = []
        # Of the page that shows the run; empty if there is none.
        self._url = ""
        self._is_stopping = False
        self._errors: dict[str, Errors] = defaultdict(Errors)
        # Programs whose end, and with it their error, was shown.
        self._shown: set[str] = set()
        self._restarts: Counter[str] = Counter()
        self._rounds_before = 0

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
                self._show_held_errors()

    def has_worked_on_run(self, exit_code: int) -> bool:
        """Whether the run was continued, rather than refused, by the programs that ended with this code."""
        if self.run_dir is None:
            return False
        return exit_code not in _NOT_BEGUN or len(read_rounds(self.run_dir)) > self._rounds_before

    def _run(self, processes: Processes) -> None:
        # Clients start last: until the server listens, another server may answer at its address.
        server, address = self._start_server(processes)
        clients = [self._start_client(processes, name, address) for name in self._plan.clients]
        show_at = float("inf")
        while server.exit_code is None and not self._is_in_vain(clients):
            ended = processes.wait(_TICK_S)
            if ended in clients and self._is_to_be_restarted(ended):
                clients[clients.index(ended)] = self._start_client(processes, ended.name, address)
            elif ended:
                show_at = time.monotonic() + _SETTLE_S
            elif time.monotonic() >= show_at:
                show_at = float("inf")
                self._show_ends(clients)
        self._conclude(processes, server, clients)

    def _start_client(self, processes: Processes, name: str, address: str) -> Child:
        return processes.start(name, "client", {**self._plan.clients[name], "SERVER_ADDRESS": address})

    def _is_to_be_restarted(self, client: Child) -> bool:
        """Whether a client that ended is started again, which is shown; a stop is not."""
        if not client.is_killed or self._restarts[client.name] == _MOST_RESTARTS:
            return False
        self._restarts[client.name] += 1
        number = f"{self._restarts[client.name]} of {_MOST_RESTARTS}"
        ending = self._ending_of(client).describe(client.name)
        self._display.show(f"{ending}; it is started again, restart {number}")
        return True

    def _start_server(self, processes: Processes) -> tuple[Child, str]:
        """Start the server and wait until it listens; return it, and the address to dial."""
        server = processes.start("server", self._plan.program, self._plan.server)
        if not self._is_ready(processes, server) and self._is_settled_by_fallback(server):
            self._early_lines.clear()
            server = processes.start("server", self._plan.program, {**self._plan.server, **self._fallback})
            self._is_ready(processes, server)
        if server.ready is None:
            messages = [split_line(line)[1] for line in self._early_lines if not is_routine(line)]
            if server.exit_code == _WRONG_SETTINGS and messages:
                raise SettingsError(map(self._plan.explain, messages))
            self._show_early_lines()
            raise ProgramsFailedError(server.exit_code or 1, self._describe_end(server))
        self.run_dir = self._plan.root / server.ready.run_dir
        self._rounds_before = len(read_rounds(self.run_dir))
        self._url = server.ready.url
        self._show_early_lines()
        self._display.follow(self._url, self.run_dir, self._plan.rename)
        if self._url:
            self._display.announce(self._url)
        return server, str(server.ready.address.reachable_locally())

    def _is_ready(self, processes: Processes, server: Child) -> bool:
        """Wait until the server listens or has ended, and return whether it listens."""
        while server.ready is None and server.exit_code is None:
            processes.wait(_TICK_S, until=lambda: server.ready is not None)
        return server.ready is not None

    def _is_settled_by_fallback(self, server: Child) -> bool:
        """Return whether the server rejected only settings that have a fallback."""
        found = map(split_line, self._early_lines)
        names = {message.partition("=")[0] for level, message in found if level == "ERROR"}
        return server.exit_code == _WRONG_SETTINGS and bool(names) and names <= self._fallback.keys()

    def _conclude(self, processes: Processes, server: Child, clients: Sequence[Child]) -> None:
        """Wait for the programs to end by themselves, and raise an error if the federation failed."""
        # A server without clients waits for new ones until its own timeout, unless it has announced the end.
        is_ending = any(client.exit_code == _TRAINING_FAILED for client in clients)
        if not processes.wait_for([server], _GRACE_S if is_ending else _TICK_S):
            processes.wait_for(clients, _SETTLE_S)
            failed = [client for client in clients if client.exit_code]
            lines = self._describe_ends(failed, len(clients))
            raise ProgramsFailedError(failed[0].exit_code or 1, "\n".join(lines))
        if server.exit_code in _SENT_GOODBYE:
            processes.wait_for(clients, _GRACE_S)
        self._show_ends(clients)
        if server.exit_code == _TRAINING_FAILED:
            # Their error is the server's, which is shown as the reason of its end.
            self._shown.update(client.name for client in clients if client.exit_code == _TRAINING_FAILED)
        if server.exit_code:
            raise ProgramsFailedError(server.exit_code, self._describe_end(server))

    def _is_in_vain(self, clients: Sequence[Child]) -> bool:
        """Whether clients ended without which the server would wait until its timeout."""
        codes = [client.exit_code for client in clients]
        # A client ends in this way before it is ready, so that the run has not begun.
        has_none = bool(codes) and all(codes)
        return has_none or (self._plan.needs_all and _WRONG_SETTINGS in codes)

    def _show_ends(self, clients: Sequence[Child]) -> None:
        # A client that ended because of the server's goodbye has the server's reason.
        quiet = (None, 0, _TRAINING_FAILED)
        failed = [c for c in clients if c.exit_code not in quiet and c.name not in self._shown]
        for line in self._describe_ends(failed, len(clients)):
            self._display.show(line)

    def _describe_ends(self, clients: Sequence[Child], total: int) -> list[str]:
        self._shown.update(client.name for client in clients)
        return describe_clients([(client.name, self._ending_of(client)) for client in clients], total)

    def _describe_end(self, child: Child) -> str:
        self._shown.add(child.name)
        return self._ending_of(child).describe(child.name)

    def _ending_of(self, child: Child) -> Ending:
        code = child.exit_code or 0
        if child.is_killed:
            for line in self._errors[child.name].release():
                self._relay(child.name, line)
            return Ending(code, "", is_killed=True)
        return Ending(code, self._plan.rename(self._errors[child.name].reason), is_killed=False)

    def _on_line(self, name: str, line: str) -> None:
        if name == "server" and self.run_dir is None:
            self._early_lines.append(line)
        elif name != "server" and is_repetition(line):
            return
        elif self._is_stopping:
            if not (is_routine(line) or is_result_of_stop(line)):
                self._relay(name, line)
        else:
            for shown in self._errors[name].read(line):
                self._relay(name, shown)

    def _show_early_lines(self) -> None:
        for line in self._early_lines:
            for shown in self._errors["server"].read(line):
                self._relay("server", shown)

    def _show_held_errors(self) -> None:
        for name, errors in self._errors.items():
            for line in errors.release():
                if name not in self._shown:
                    self._relay(name, line)

    def _relay(self, name: str, line: str) -> None:
        # The server logs the address of its page too, before or after it reports that it is ready.
        if self._url and self._url in line and is_routine(line):
            return
        self._display.relay(name, self._plan.rename(line))
