"""What a run ends with when nothing disturbs it."""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

from tests.federation.chaos.stage import Stage, Training

NAMES = ("east", "north", "south", "west")
STRATEGIES = {"fedavg": "{}", "fedavgm": '{"server_momentum": 0.9}', "fedadam": "{}"}


@dataclass(frozen=True)
class Plan:
    """A run: what decides about its model."""

    strategy: str = "fedavg"
    nodes: int = 2
    rounds: int = 4
    task: str = "tiny_task"

    @property
    def settings(self) -> dict[str, object]:
        """The server's."""
        return {
            "STRATEGY": self.strategy,
            "STRATEGY_ARGS": STRATEGIES[self.strategy],
            "NUM_PARTITIONS": self.nodes,
            "MIN_CLIENTS": self.nodes,
            "NUM_ROUNDS": self.rounds,
            "LEARNING_RATE": 0.05 if self.task == "tiny_task" else 0.001,
        }

    @property
    def names(self) -> tuple[str, ...]:
        """Its nodes'."""
        return NAMES[: self.nodes]

    @property
    def trainings(self) -> Counter[Training]:
        """Each partition's training of each round, once."""
        return Counter((n, p) for n in range(1, self.rounds + 1) for p in range(self.nodes))


@dataclass
class Reference:
    """Runs plans that nothing disturbs, each once."""

    make_stage: Callable[[], Stage]
    _known: dict[Plan, str] = field(default_factory=dict)

    def digest(self, plan: Plan) -> str:
        """Return the SHA-256 of the model that a plan ends with."""
        if plan not in self._known:
            stage = self.make_stage()
            server = stage.start_server(**plan.settings)
            nodes = [stage.start_client(NODE_NAME=name, TASK=plan.task) for name in plan.names]
            assert [program.wait() for program in (server, *nodes)] == [0] * (1 + plan.nodes), stage.logs
            assert stage.trainings == plan.trainings, stage.trainings
            self._known[plan] = str(stage.facts["model_sha256"])
        return self._known[plan]
