"""One run with faults drawn from a seed, and what became of it."""

import random
import time
from collections import Counter, deque
from dataclasses import dataclass, field
from functools import partial

from tests.federation.chaos import points
from tests.federation.chaos.cable import Cable
from tests.federation.chaos.killing import Kill
from tests.federation.chaos.reference import STRATEGIES, Plan
from tests.federation.chaos.stage import Stage
from tests.federation.programs import Program

# For a whole run; the longest stall takes a minute.
PATIENCE_S = 180.0

_POLL_S, _GOODBYE_S = 0.01, 10.0
_KILLED, _REFUSED = -9, 5
# Of each task: the least and most rounds, and the bytes of its model.
_TASKS = {"tiny_task": (4, 12, 400), "wide_task": (2, 4, 5_200_000)}
_LATEST_KILL_S = 0.6
_STALLS_S = (*(0.2, 0.5, 1, 2, 5) * 4, 35)


@dataclass
class Role:
    """A program that is started again whenever it has died.

    Attributes:
        name: `server`, or a node's.
        lives: how each of its next lives ends: at an exact point, or after so many seconds. Then comes
            one without a fault.
        program: what runs now.
        dies_at: monotonic seconds, if this life ends by the clock.
    """

    name: str
    lives: "deque[Kill | float]"
    program: Program | None = None
    dies_at: float | None = None


@dataclass
class Story:
    """One run.

    Attributes:
        plan: what is trained.
        did: counts of kills, cuts, stalls and slow cables.
        wrong: what differs from an undisturbed run.
    """

    plan: Plan
    stage: Stage
    did: Counter[str] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)

    @property
    def repeated(self) -> int:
        """Trainings that were begun again."""
        return (self.stage.trainings - self.plan.trainings).total()

    def play(self, rng: random.Random, digest: str) -> None:
        """Run it to its end, and compare.

        Args:
            rng: draws the faults.
            digest: of the undisturbed run's model.
        """
        cables = [Cable(self.stage.port) for _ in self.plan.names]
        try:
            for cable in cables:
                self._weaken(cable, rng)
            server = Role("server", draw_lives(rng, points.OF_SERVER, most=6))
            nodes = [Role(name, draw_lives(rng, points.OF_CLIENT, most=2)) for name in self.plan.names]
            self._direct(server, dict(zip([node.name for node in nodes], cables, strict=True)), nodes)
            self._compare(digest)
            # Behind a cable that stalls, or where a handshake takes seconds, the goodbye may be over by then.
            if not (self.wrong or self.did["stalls"] or self.did["slow"]):
                self._await_ends(nodes)
        finally:
            self.stage.end()
            for cable in cables:
                cable.close()

    def _weaken(self, cable: Cable, rng: random.Random) -> None:
        model = _TASKS[self.plan.task][2]
        if rng.random() < 0.2:
            self.did["slow"] += 1
            cable.bytes_per_s = rng.choice((2, 8, 20)) * model

        def cut() -> None:
            self.did["cuts"] += 1
            cable.cut()

        def stall(seconds: float) -> None:
            self.did["stalls"] += 1
            cable.stall(seconds)

        for is_cut in rng.choices((True, True, False), k=rng.randint(0, 2)):
            do = cut if is_cut else partial(stall, rng.choice(_STALLS_S))
            cable.after(rng.choice(("up", "down")), rng.randrange(self.plan.rounds * model), do)

    def _direct(self, server: Role, cables: dict[str, Cable], nodes: list[Role]) -> None:
        """Start everything again that dies, until the server has finished."""
        deadline = time.monotonic() + PATIENCE_S
        while server.program is None or server.program.process.poll() != 0:
            if time.monotonic() > deadline:
                self.wrong.append(f"no end within {PATIENCE_S:g} s")
                return
            for role in (server, *nodes):
                self._keep_alive(role, cables.get(role.name))
            if self.wrong:
                return
            time.sleep(_POLL_S)

    def _keep_alive(self, role: Role, cable: Cable | None) -> None:
        now, program = time.monotonic(), role.program
        code = None if program is None else program.process.poll()
        if program is not None and code is None:
            if role.dies_at is not None and now >= role.dies_at:
                program.process.kill()
                program.wait()
            return
        if program is not None:
            # A node that died behind a stalled cable lives for the server until that is found out.
            is_refused = code == _REFUSED and "a living node has this name" in program.log
            if code != _KILLED and not is_refused:
                if code != 0:
                    self.wrong.append(f"{role.name} ended with {code}")
                return
            self.did["refusals" if is_refused else f"{'server' if cable is None else 'client'} kills"] += 1
        self._start(role, cable)

    def _start(self, role: Role, cable: Cable | None) -> None:
        life = role.lives.popleft() if role.lives else None
        role.dies_at = time.monotonic() + life if isinstance(life, float) else None
        fault = life if isinstance(life, Kill) else None
        if cable is None:
            role.program = self.stage.start_server(fault=fault, LEASE_GRACE=60, **self.plan.settings)
        else:
            role.program = self.stage.start_client(
                fault=fault, NODE_NAME=role.name, TASK=self.plan.task, SERVER_ADDRESS=cable.address
            )

    def _await_ends(self, nodes: list[Role]) -> None:
        """Wait until every living node has ended well, notified by its server that the run is finished."""
        for node in nodes:
            if node.program is None or "joined" not in node.program.log:
                continue  # it was started when the server had ended
            code = node.program.wait(_GOODBYE_S)
            if code not in (0, _KILLED):
                self.wrong.append(f"{node.name} ended with {code} after the run was finished")

    def _compare(self, digest: str) -> None:
        if self.wrong:
            return
        facts, history = self.stage.facts, self.stage.history
        if facts["model_sha256"] != digest:
            self.wrong.append(f"model_sha256 is {facts['model_sha256']}, undisturbed {digest}")
        if (rounds := [line["round"] for line in history]) != list(range(1, self.plan.rounds + 1)):
            self.wrong.append(f"history has rounds {rounds}")
        if any(line["missing"] or line["rejected"] for line in history):
            self.wrong.append("a node is missing, or was rejected")
        if self.plan.trainings - self.stage.trainings:
            self.wrong.append("a training is not noted")
        if self.repeated and not self.did["client kills"]:
            self.wrong.append(f"{self.repeated} trainings were repeated though no client died")
        if "Traceback" in self.stage.logs:
            self.wrong.append("a traceback is in a log")


def draw_plan(rng: random.Random) -> Plan:
    """Draw what is trained."""
    task = rng.choice(("tiny_task", "tiny_task", "wide_task"))
    least, most, _ = _TASKS[task]
    return Plan(rng.choice(list(STRATEGIES)), rng.randint(2, 4), rng.randint(least, most), task)


def draw_lives(rng: random.Random, kills: tuple[Kill, ...], most: int) -> "deque[Kill | float]":
    """Draw how a program's lives end."""
    return deque(
        rng.choice(kills) if rng.random() < 0.5 else rng.uniform(0.02, _LATEST_KILL_S)
        for _ in range(rng.randint(0, most))
    )
