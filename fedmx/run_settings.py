"""The settings of one run: rounds, strategy, privacy, partitions, and when it ends."""

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace

from fedmx import parsing, texts
from fedmx.fields import setting
from fedmx.goals import BestMetric, Target
from fedmx.hyperparameters import Hyperparameters
from fedmx.schedule import LearningRateSchedule
from fedmx.values import PartitionRule

_positive = parsing.integer(at_least=1)
_count = parsing.integer(at_least=0)


@dataclass(frozen=True)
class RunSettings(Hyperparameters):
    """Settings of one run, which Flower's engines set by their run config."""

    num_rounds: int = setting(
        3, _positive, "rounds of training; its alias ROUNDS takes precedence", alias="ROUNDS"
    )
    run_name: str = setting("", texts.title, "name of the run, shown beside its id")
    run_notes: str = setting("", texts.notes, "notes on the run")
    run_tags: tuple[str, ...] = setting((), texts.tags, "tags of the run, separated by commas")
    min_clients: int = setting(2, _positive, "minimum number of clients to start a run with")
    min_updates: int = setting(
        0, _count, "minimum number of admitted updates per round; 0: the value of MIN_CLIENTS"
    )
    num_partitions: int = setting(
        0, _count, "partitions of a shared dataset, and clients to wait for; 0: all that join at the start"
    )
    join_window: float = setting(5.0, parsing.seconds, "seconds without a new client until the run starts")
    client_wait_timeout: float = setting(
        300.0, parsing.seconds_or_unlimited, "seconds to wait for enough clients; 0: no limit"
    )
    round_timeout: float = setting(
        600.0,
        parsing.seconds_or_unlimited,
        "seconds that a client has to answer a message, without the time of transfers; 0: no limit",
    )
    quorum: float = setting(
        1.0,
        parsing.number(above=0, at_most=1),
        "fraction of the asked nodes whose replies are enough; 1: all",
    )
    quorum_grace: float = setting(
        30.0,
        parsing.seconds,
        "seconds to wait for the other nodes once QUORUM of them have replied",
    )
    lr_schedule: LearningRateSchedule = setting(
        LearningRateSchedule(),
        LearningRateSchedule.parse,
        "learning rate by round: constant, step:EVERY:FACTOR or cosine:ROUNDS; warmup:ROUNDS+ before",
        shapes_model=True,
    )
    strategy: str = setting(
        "fedavg", parsing.word, "name of a strategy, or package.module:factory of yours", shapes_model=True
    )
    strategy_args: Mapping[str, object] = setting(
        {}, parsing.json_object, "arguments of the strategy, as a JSON object", shapes_model=True
    )
    dp_mode: str = setting(
        "off",
        parsing.choice("off", "dp-fixed", "dp-adaptive"),
        "differential privacy: off, dp-fixed or dp-adaptive clipping",
        shapes_model=True,
    )
    dp_args: Mapping[str, object] = setting(
        {}, parsing.json_object, "arguments of differential privacy, as a JSON object", shapes_model=True
    )
    dp_delta: float = setting(
        1e-5,
        parsing.number(above=0, below=1),
        "delta at which the privacy loss epsilon is computed",
        shapes_model=True,
    )
    max_epsilon: float = setting(
        0.0,
        parsing.number(at_least=0),
        "end before the round that would spend more than this epsilon; 0: no limit",
        shapes_model=True,
    )
    best_metric: BestMetric = setting(
        BestMetric("loss"),
        BestMetric.parse,
        "metric that chooses the best round, with :min or :max",
        shapes_model=True,
    )
    target: Target | None = setting(
        None,
        Target.parse,
        "stop when a metric reaches a bound, such as accuracy>=0.99; empty: never",
        shapes_model=True,
    )
    patience: int = setting(
        0,
        _count,
        "stop after this many evaluations without a better BEST_METRIC; 0: never",
        shapes_model=True,
    )
    partition: PartitionRule = setting(
        PartitionRule("iid"),
        PartitionRule.parse,
        "division of a shared dataset: iid, dirichlet:ALPHA, labels:K, shards:K; none: own data per site",
        shapes_model=True,
    )
    seed: int = setting(
        0, _count, "seed of initial arrays, partitions, sampling and shuffling", shapes_model=True
    )

    @property
    def hyperparameters(self) -> Hyperparameters:
        """The settings that are sent to the nodes, with the learning rate before it is scheduled."""
        return Hyperparameters(**{field.name: getattr(self, field.name) for field in fields(Hyperparameters)})

    def hyperparameters_in(self, number: int) -> Hyperparameters:
        """Return what is sent to the nodes in a round."""
        return replace(self.hyperparameters, learning_rate=self.learning_rate_in(number))

    def learning_rate_in(self, number: int) -> float:
        """Return the scheduled learning rate of a round."""
        return self.learning_rate * self.lr_schedule.factor(number)

    @property
    def least_updates(self) -> int:
        """The minimum number of admitted updates; a round with fewer fails."""
        return self.min_updates or self.min_clients
