"""Runs a plan: starts the programs, follows them, and decides when the federation is over and how it went."""

import time
from collections.abc import Sequence

from fedmx.errors import SettingsError, StopSignal
from local.display import Display
from local.endings import Ending, ProgramsFailedError, describe, list_details
from local.plan import Plan
from local.processes import Child, Processes
from local.relay import Relay
from local.results import RunWatch, read_rounds

_TICK_S = 0.2
_GRACE_S = 5.0
"""Seconds in which a program that has nothing left to do ends by itself."""
_SETTLE_S = 2.0
"""Seconds in which other clients may end for the reason of the one that just did."""
_CHECK_S = 60.0

_WRONG_SETTINGS = 2
_TOO_FEW_NODES = 3
_TRAINING_FAILED = 4
_SAID_GOODBYE = (0, _TOO_FEW_NODES, _TRAINING_FAILED)
"""Exit codes of a server that told its nodes how the run ended; they end with it."""


def run(plan: Plan, display: Display, watch: RunWatch) -> None:
    """Run a federation to its end. Whatever happens, no program is left behind.

    Args:
        plan: what to start.
        display: where lines and progress go.
        watch: opened once the runs folder is this federation's.

    Raises:
        SettingsError: the server does not take its settings.
        ProgramsFailedError: the federation failed in another way.
    """
    relay = Relay(display.relay, plan.log_level)
    with Processes(plan.root, relay.take) as processes:
        try:
            _Federation(plan, display, relay, processes).run(watch)
        except StopSignal:
            display.say("stopped: ending all programs")
            raise
        finally:
            relay.end()


def check(plan: Plan) -> None:
    """Have the server look at its settings too, so that all problems of all settings are said at once.

    Raises:
        SettingsError: the plan has problems.
    """
    if not plan.problems:
        return
    lines: list[str] = []
    with Processes(plan.root, lambda _, line: lines.append(line)) as processes:
        processes.wait_for([processes.start("server", "server.check", plan.server)], _CHECK_S)
    raise SettingsError(dict.fromkeys([*plan.problems, *map(plan.explain, lines)]))


class _Federation:
    """The programs of one plan, and how clients ended."""

    def __init__(self, plan: Plan, display: Display, relay: Relay, processes: Processes) -> None:
        self._plan = plan
        self._display = display
        self._relay = relay
        self._processes = processes
        self._endings: dict[str, Ending] = {}
        self._unsaid: list[Ending] = []
        self._settled_at = 0.0

    def run(self, watch: RunWatch) -> None:
        # A client that is started before would join another server, if that has the address.
        server = self._start_server()
        watch.open()
        programs = self._plan.clients.items()
        address = self._relay.address
        found = {} if address is None else {"SERVER_ADDRESS": str(address.as_dialled_here())}
        clients = [self._processes.start(name, "client", {**given, **found}) for name, given in programs]
        while server.exit_code is None and not all(client.exit_code for client in clients):
            ended = self._processes.wait(_TICK_S)
            if ended and ended is not server:
                self._note(ended)
            if time.monotonic() > self._settled_at:
                self._say_endings()
            self._relay.release_old()
            folder = watch.find()
            self._display.update(read_rounds(folder) if folder else [])
        self._conclude(server, clients)

    def _start_server(self) -> Child:
        """Start the server, and wait until it listens."""
        self._relay.expect_start("server")
        server = self._processes.start("server", "server", self._plan.server)
        while self._relay.is_starting("server"):
            if self._processes.wait(_TICK_S, until=lambda: not self._relay.is_starting("server")):
                ending = self._end_of(server)
                if ending.exit_code == _WRONG_SETTINGS and ending.lines:
                    raise SettingsError(map(self._plan.explain, ending.messages))
                raise self._fail([ending])
            self._relay.release_old()
        return server

    def _conclude(self, server: Child, clients: Sequence[Child]) -> None:
        """Give the programs time to end by themselves, and say how they did if they did not end well."""
        # A server without clients waits for others until its own timeout, unless it sent them away itself.
        is_ending = any(client.exit_code == _TRAINING_FAILED for client in clients)
        if not self._processes.wait_for([server], _GRACE_S if is_ending else _TICK_S):
            raise self._fail(list(self._endings.values()))
        if server.exit_code in _SAID_GOODBYE:
            self._processes.wait_for(clients, _GRACE_S)
        for client in clients:
            self._note(client)
        if server.exit_code:
            # What ended with the server's goodbye has only that to say.
            self._unsaid = [ending for ending in self._unsaid if ending.exit_code != _TRAINING_FAILED]
        self._say_endings()
        if server.exit_code:
            raise self._fail([self._end_of(server)])

    def _note(self, client: Child) -> None:
        if client.exit_code and client.name not in self._endings:
            ending = self._end_of(client)
            self._endings[client.name] = ending
            self._unsaid.append(ending)
            self._settled_at = time.monotonic() + _SETTLE_S

    def _say_endings(self) -> None:
        self._show_details(self._unsaid)
        for line in describe(self._unsaid, len(self._plan.clients)):
            self._display.say(line)
        self._unsaid.clear()

    def _fail(self, endings: Sequence[Ending]) -> ProgramsFailedError:
        self._show_details(endings)
        return ProgramsFailedError(endings[0].exit_code, describe(endings, len(self._plan.clients)))

    def _show_details(self, endings: Sequence[Ending]) -> None:
        for name, line in list_details(endings):
            self._display.relay(name, line)

    def _end_of(self, child: Child) -> Ending:
        return Ending(child.name, child.exit_code or 0, self._relay.take_last_words(child.name))
