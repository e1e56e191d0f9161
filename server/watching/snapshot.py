"""What a terminal shows of a run, read from a document such as `/status.json`."""

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime

from fedmx.log import printable
from server.watching.fields import Fields

WAITING, RUNNING, FINISHED, FAILED, INTERRUPTED = "waiting", "running", "finished", "failed", "interrupted"
_STATES = (WAITING, RUNNING, FINISHED, FAILED, INTERRUPTED)


@dataclass(frozen=True)
class Round:
    """A finished round.

    Attributes:
        nodes: how many nodes had an update that was admitted.
        missing: how many did not answer.
        left_out: how many a quorum did not wait for.
        train: metrics of the training.
        evaluate: metrics of the evaluation; empty if there was none.
        seconds: how long it took; None if that is not known.
    """

    number: int
    nodes: int
    train: Mapping[str, float | None]
    evaluate: Mapping[str, float | None]
    seconds: float | None
    missing: int = 0
    left_out: int = 0


@dataclass(frozen=True)
class Node:
    """A node: its state, and its work so far.

    Attributes:
        state: `loading`, `ready`, `gone` or `expelled`; empty if that is not known.
        examples_per_second: of its newest training.
        metrics: of its newest evaluation.
        rejected: how many of its updates were rejected.
        missing: in how many rounds it did not answer.
        left_out: in how many rounds a quorum did not wait for it.
    """

    name: str
    site: str = ""
    device: str = ""
    state: str = ""
    examples_per_second: float | None = None
    metrics: Mapping[str, float | None] = field(default_factory=dict)
    rejected: int = 0
    missing: int = 0
    left_out: int = 0

    @property
    def is_absent(self) -> bool:
        """Whether it left or was expelled."""
        return self.state in ("gone", "expelled")


@dataclass(frozen=True)
class Activity:
    """What the server does.

    Attributes:
        name: such as `train`; empty if it is not known.
        round: the round; 0 before round 1.
        since: when it began.
        fields: what it waits for.
        until: when the wait ends; None if it has no limit.
        limit: the setting that ends it.
        then: what happens then.
        hint: what a person can do.
        gone: the nodes that it waits for although they left.
    """

    name: str = ""
    round: int = 0
    since: datetime | None = None
    fields: Mapping[str, object] = field(default_factory=dict)
    until: datetime | None = None
    limit: str = ""
    then: str = ""
    hint: str = ""
    gone: Sequence[str] = ()

    @property
    def awaited(self) -> Sequence[str]:
        """The names of the nodes that are awaited."""
        names = self.fields.get("awaited")
        return names if isinstance(names, list) else ()


@dataclass(frozen=True)
class Snapshot:
    """A run at one moment.

    Attributes:
        state: `waiting`, `running`, `finished`, `failed` or `interrupted`.
        curves: the values of metrics, one for each round; those of the evaluation if it has any.
        now: when it was described, on the clock of the server.
        read_at: when it was read, in monotonic seconds.
    """

    state: str
    run_id: str
    name: str
    reason: str
    num_rounds: int
    started: datetime | None
    finished: datetime | None
    best: tuple[int, str, float] | None
    epsilon: float | None
    model_sha256: str
    activity: Activity
    rounds: Sequence[Round]
    curves: Mapping[str, Sequence[float | None]]
    nodes: Sequence[Node]
    now: datetime
    read_at: float = field(default_factory=time.monotonic)

    @classmethod
    def parse(cls, document: object) -> "Snapshot":
        """Parse a status document.

        Raises:
            ValueError: it is not one.
        """
        status = Fields(document)
        state = status.text("state")
        if state not in _STATES:
            raise ValueError(f"status.state={state!r}: expected one of {', '.join(_STATES)}")
        run = status.part("run") or Fields({})
        curves = run.part("curves") or Fields({})
        return cls(
            state=state,
            run_id=run.text("run_id"),
            name=run.text("name"),
            reason=run.text("reason"),
            num_rounds=run.count("num_rounds"),
            started=run.moment("started"),
            finished=run.moment("finished"),
            best=_parse_best(run.part("best")),
            epsilon=(run.part("privacy") or Fields({})).number("epsilon"),
            model_sha256=run.text("model_sha256"),
            activity=_parse_activity(status.part("activity") or Fields({})),
            rounds=_parse_rounds(curves),
            curves=curves.curves("evaluate") or curves.curves("train"),
            nodes=_parse_nodes(status, run),
            now=status.moment("now") or datetime.now(UTC),
        )

    @property
    def has_ended(self) -> bool:
        """Whether the run has ended, successfully or not."""
        return self.state not in (WAITING, RUNNING)

    @property
    def round(self) -> int:
        """The newest finished round; 0 if there is none."""
        return self.rounds[-1].number if self.rounds else 0


def parse_text(text: bytes) -> Snapshot:
    """Parse the text of a status document.

    Raises:
        ValueError: it is not one.
    """
    try:
        return Snapshot.parse(json.loads(text))
    except RecursionError:
        raise ValueError("nested too deeply") from None


def _parse_best(best: Fields | None) -> tuple[int, str, float] | None:
    value = best.number("value") if best else None
    return None if best is None or value is None else (best.count("round"), best.text("metric"), value)


def _parse_activity(activity: Fields) -> Activity:
    waiting = activity.part("waiting") or Fields({})
    fields = waiting.part("fields") or Fields({})
    shown: dict[str, object] = {}
    for name, value in fields.plain().items():
        shown[printable(name)] = fields.texts(name) if isinstance(value, list) else printable(str(value))
    return Activity(
        name=activity.text("name"),
        round=activity.count("round"),
        since=activity.moment("since"),
        fields=shown,
        until=waiting.moment("until"),
        limit=waiting.text("limit"),
        then=waiting.text("then"),
        hint=waiting.text("hint"),
        gone=waiting.texts("gone"),
    )


def _parse_rounds(curves: Fields) -> list[Round]:
    train, evaluate = curves.curves("train"), curves.curves("evaluate")
    seconds = (curves.part("seconds") or Fields({})).curve("total")
    counts = {name: curves.curve(name) for name in ("nodes", "missing", "left_out")}
    return [
        Round(
            number=int(number or 0),
            **{name: int(_at(values, at) or 0) for name, values in counts.items()},
            train={name: _at(values, at) for name, values in train.items()},
            evaluate={name: _at(values, at) for name, values in evaluate.items()},
            seconds=_at(seconds, at),
        )
        for at, number in enumerate(curves.curve("rounds"))
    ]


def _parse_nodes(status: Fields, run: Fields) -> list[Node]:
    """Return the nodes of earlier rounds, and those that are connected now."""
    done = {node.text("name"): node for node in run.parts("nodes")}
    live = {node.text("name"): node for node in status.parts("nodes")}
    nothing = Fields({})
    return [_parse_node(name, live.get(name), done.get(name, nothing)) for name in {**done, **live}]


def _parse_node(name: str, live: Fields | None, done: Fields) -> Node:
    return Node(
        name=name,
        site=(live.text("site") if live else "") or done.text("site"),
        device=live.text("device") if live else "",
        state=live.text("state") if live else "",
        examples_per_second=done.number("examples_per_second"),
        metrics=done.numbers("metrics"),
        rejected=done.count("rejected"),
        missing=done.count("missing"),
        left_out=done.count("left_out"),
    )


def _at(values: Sequence[float | None], at: int) -> float | None:
    return values[at] if at < len(values) else None
