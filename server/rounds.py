"""The round loop: ask for updates, admit, aggregate, evaluate, keep. Asking itself is `steps`."""

import itertools
import time
from collections.abc import Mapping
from typing import Any

from flwr.app import Array, ArrayRecord, Message, MessageType, MetricRecord, RecordDict
from flwr.app.exception import AppExitException
from flwr.serverapp import Grid

from fedmx.errors import TrainingFailedError
from fedmx.fields import describe_model
from fedmx.link.flower import with_content
from fedmx.log import event, warn
from fedmx.settings import ServerSettings
from server import admission
from server.collect import Asker, Replies
from server.model import GlobalModel, Layout, average_running
from server.nodes import Nodes
from server.record import checkpoint
from server.record.checkpoint import Checkpoint, Facts, Values
from server.record.history import History
from server.strategies import Plan

_ATTEMPTS = 3
"""Attempts at a round, where the next one can differ."""


class RoundLoop:
    """Trains a model round by round.

    Args:
        grid: reaches the nodes.
        nodes: who they are.
        plan: the strategy.
        settings: what the server was told.
    """

    def __init__(self, grid: Grid, nodes: Nodes, plan: Plan, settings: ServerSettings) -> None:
        self._grid = grid
        self._nodes = nodes
        self._plan = plan
        self._settings = settings

    def run(self, model: GlobalModel, history: History, first: int = 1) -> None:
        """Train all rounds from `first` on; `model` becomes the trained one.

        Raises:
            DataError: a round cannot be kept.
            TrainingFailedError: a round stayed without enough admissible updates.
        """
        asker = Asker(self._grid, self._nodes, self._plan, self._settings, model.layout)
        for number in range(first, self._settings.num_rounds + 1):
            started = time.monotonic()
            trained, evaluated = Replies(), Replies()
            aggregate_s = self._train(asker, number, model, trained)
            if self._plan.privacy is not None:
                history.note_release(self._plan.privacy.noise_multiplier)
            asker.ask(MessageType.EVALUATE, number, 0, model.arrays, evaluated)
            line = describe_round(number, trained, evaluated)
            if self._plan.privacy is not None:
                line["privacy"] = self._plan.privacy.spend()
            line["seconds"] = {
                "train": round(trained.seconds, 4),
                "aggregate": round(aggregate_s, 4),
                "evaluate": round(evaluated.seconds, 4),
                "checkpoint": 0.0,
                "total": round(time.monotonic() - started, 4),
            }
            best = history.judge(line) if evaluated.are_whole(self._nodes.number) else history.best
            # On disk before anything else can happen: whatever dies from here on, this round is not lost.
            seconds = self._keep(model, line, best, history)
            line["seconds"]["checkpoint"] = seconds
            line["seconds"]["total"] = round(line["seconds"]["total"] + seconds, 4)
            history.add_round(line, best)
            self._log(number, line)

    def _keep(self, model: GlobalModel, line: Values, best: Values | None, history: History) -> float:
        """Write the round's checkpoint, and remove those that are not needed any more; give the seconds."""
        started = time.monotonic()
        facts = Facts(
            run_id=history.folder.name,
            round=line["round"],
            settings=describe_model(self._settings),
            partitions=self._nodes.number,
            nodes=self._nodes.holders(),
            line=line,
            history_bytes=history.size,
            best=best,
        )
        folder = history.folder / checkpoint.FOLDER
        checkpoint.save(Checkpoint(facts, model.arrays, self._plan.state()), folder)
        rounds = checkpoint.list_rounds(folder)
        kept = checkpoint.choose_kept(
            rounds, best["round"] if best else None, self._settings.keep_checkpoints
        )
        checkpoint.remove_others(folder, kept)
        return round(time.monotonic() - started, 4)

    def _train(self, asker: Asker, number: int, model: GlobalModel, replies: Replies) -> float:
        """Ask until the updates can be aggregated, keeping what was admitted; give the aggregation's seconds.

        `model` gets the new arrays, or keeps those it has.
        """
        for attempt in itertools.count():
            asker.ask(MessageType.TRAIN, number, attempt, model.arrays, replies)
            started = time.monotonic()
            try:
                with self._plan.undone_on_failure():
                    model.arrays = self._aggregate(number, model.layout, replies)
            # Flower's strategies raise all of these for what they cannot aggregate.
            except (ValueError, ArithmeticError, AppExitException) as error:
                self._decide_on_retry(number, attempt + 1, str(error), replies)
            else:
                replies.drop_arrays()
                break
        return time.monotonic() - started

    def _decide_on_retry(self, number: int, attempts: int, cause: str, replies: Replies) -> None:
        """Wait for nodes before a round is tried again.

        Raises:
            TrainingFailedError: there have been enough attempts, or another would end the same.
        """
        if attempts == _ATTEMPTS or not self._can_differ(replies):
            times = f" {attempts} times, the last time" if attempts > 1 else ""
            raise TrainingFailedError(f"round {number} failed{times}: {cause}")
        warn("round failed, trying again", round=number, cause=cause)
        self._nodes.await_any(self._settings.least_updates, self._settings.lease_grace)

    def _can_differ(self, replies: Replies) -> bool:
        """Whether another attempt may have enough updates: a node was lost, is gone, or was not asked."""
        present, least = self._nodes.participants(), self._settings.least_updates
        failed = sum(who.name in replies.failed for who in present)
        if max(self._nodes.number, len(present), least) - failed < self._least_updates(replies):
            return False
        return bool(replies.missing or len(present) < least or any(map(replies.can_use, present)))

    def _aggregate(self, number: int, layout: Layout, replies: Replies) -> ArrayRecord:
        """Make the new global arrays.

        Raises:
            ValueError: too few updates were admitted, or the strategy made nothing of them.
        """
        admitted = [reply for _, reply in replies.in_order()]
        least = self._least_updates(replies)
        if len(admitted) < least:
            raise ValueError(f"{len(admitted)} updates admitted, {least} needed: {replies.explain()}")
        updates = [self._for_strategy(layout, reply) for reply in admitted]
        try:
            trained, _ = self._plan.strategy.aggregate_train(number, updates)
        finally:
            for update in updates:  # Flower's strategies leave cycles behind, see `records_of`
                admission.arrays_of(update.content).clear()
        if not trained:
            raise ValueError(f"STRATEGY={self._settings.strategy} gave no arrays for {len(admitted)} updates")
        running = average_running(layout, [_arrays_and_weight(reply) for reply in admitted])
        return layout.merge(trained, running)

    def _least_updates(self, replies: Replies) -> int:
        """Say how many updates the round needs: nodes left out by sampling are not missed, nodes gone are."""
        least = self._settings.least_updates
        if replies.present >= least:
            least = min(least, replies.wanted)
        return max(self._plan.least_nodes, least)

    def _for_strategy(self, layout: Layout, reply: Message) -> Message:
        """Give a copy of a reply with the trained arrays alone; the strategy may change it."""
        metrics = MetricRecord(dict(admission.metrics_of(reply.content)))
        if self._plan.privacy is not None:
            metrics[admission.NUM_EXAMPLES] = 1  # the noise is calibrated to equal weights
        arrays = layout.pick_trained(admission.arrays_of(reply.content))
        return with_content(reply, RecordDict({"arrays": arrays, "metrics": metrics}))

    def _log(self, number: int, line: Mapping[str, Any]) -> None:
        metrics = line["evaluate"] or {f"train_{name}": value for name, value in line["train"].items()}
        fields: dict[str, Any] = {
            "round": number,
            "rounds": self._settings.num_rounds,
            "nodes": len(line["nodes"]),
            **{name: value for name, value in metrics.items() if not name.endswith("num_examples")},
            "epsilon": line.get("privacy", {}).get("epsilon"),
            "seconds": line["seconds"]["total"],
        }
        event("round finished", **fields)


def describe_round(number: int, trained: Replies, evaluated: Replies) -> dict[str, Any]:
    """Say what happened in a round, as `history.jsonl` keeps it (its seconds apart)."""
    steps = {"train": trained, "evaluate": evaluated}
    refusals = [
        {"name": name, "step": step, "reason": reason}
        for step, replies in steps.items()
        for name, reason in sorted(replies.refused.items())
    ]
    return {
        "round": number,
        "train": trained.means(),
        "evaluate": evaluated.means(),
        "nodes": [_describe_node(who.name, who.partition, reply, steps) for who, reply in trained.in_order()],
        "refused": refusals,
        "undefined": [
            {"name": name, "step": step, "metrics": metrics}
            for step, replies in steps.items()
            for name, metrics in replies.undefined().items()
        ],
        "missing": sorted(trained.missing.keys() | evaluated.missing.keys()),
    }


def _describe_node(
    name: str, partition: int | None, reply: Message, steps: Mapping[str, Replies]
) -> dict[str, Any]:
    metrics, _ = admission.split_metrics(reply.content)
    examples = metrics.pop(admission.NUM_EXAMPLES)
    return {
        "name": name,
        "partition": partition,
        "examples": examples,
        **metrics,
        "seconds": round(steps["train"].node_seconds.get(name, 0.0), 4),
        "bytes_up": sum(replies.bytes_up.get(name, 0) for replies in steps.values()),
        "bytes_down": sum(replies.bytes_down.get(name, 0) for replies in steps.values()),
    }


def _arrays_and_weight(reply: Message) -> tuple[Mapping[str, Array], float]:
    weight = admission.metrics_of(reply.content)[admission.NUM_EXAMPLES]
    return admission.arrays_of(reply.content), weight
