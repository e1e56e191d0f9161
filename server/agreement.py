"""Before round 1: what the nodes agree on, and the arrays that all of them start from."""

import contextlib
import time
from collections.abc import Mapping
from dataclasses import dataclass, field

from flwr.app import ArrayRecord, ConfigRecord, Message, MessageType, RecordDict
from flwr.serverapp import Grid

from fedmx import arrays
from fedmx.errors import SettingsError, TooFewNodesError, TrainingFailedError
from fedmx.link.flower import ERROR_CODE_BASE
from fedmx.link.grid import LinkGrid
from fedmx.log import printable, warn
from fedmx.settings import ServerSettings
from server import admission, memory
from server.leases import Participant
from server.model import GlobalModel, Layout
from server.nodes import Nodes
from server.waiting import Question, ask


@dataclass(frozen=True)
class Opened:
    """A run that can begin its first round.

    Attributes:
        model: what that round starts from.
        description: what all of its nodes agree on.
    """

    model: GlobalModel
    description: Mapping[str, str | list[str]]


def open_run(
    grid: Grid, nodes: Nodes, settings: ServerSettings, taken_up: ArrayRecord | None = None
) -> Opened:
    """Wait for nodes, lease partitions, and fetch the arrays that all of them start from.

    Args:
        grid: reaches the nodes.
        nodes: who they are.
        settings: what the server was told.
        taken_up: the arrays of a run that goes on, in place of those it started from.

    Raises:
        TooFewNodesError: too few nodes came, or stayed.
        SettingsError: a node cannot work with the settings.
        TrainingFailedError: the nodes do not agree, or do not answer.
    """
    contents = Inquiry(grid, nodes, settings, is_new=taken_up is None).ask()
    descriptions = {
        name: next(iter(admission.records_of(content, ConfigRecord)), ConfigRecord())
        for name, content in contents.items()
    }
    first, reference = next(iter(descriptions.items()))
    layout = _agree(descriptions, settings)
    if taken_up is None:
        initial = next(iter(admission.records_of(contents[first], ArrayRecord)), ArrayRecord())
        model = GlobalModel(_check_initial(initial, layout, descriptions, settings), layout)
    elif fault := admission.find_fault_of_arrays(taken_up, layout):
        raise SettingsError(
            f"the run's model is not that of node {first}: {fault}; expected the same TASK as before, or"
            " RESUME=never to start anew"
        )
    else:
        model = GlobalModel(taken_up, layout)
    if isinstance(grid, LinkGrid):
        grid.roster.pin(reference)  # whoever comes later is compared with it
    return Opened(model, admission.identity_of(reference))


@dataclass
class Inquiry:
    """Asks the nodes who they are, until all who can answer have.

    A node that fails or says nothing has no part in what is agreed, and stops nobody as long as the others
    are enough for a round; in the rounds it is asked like any other.
    """

    grid: Grid
    nodes: Nodes
    settings: ServerSettings
    is_new: bool  # whether the run needs the arrays to start from
    _unfit: dict[str, str] = field(default_factory=dict)  # node name -> why
    _left: set[str] = field(default_factory=set)  # names of nodes that left when they were asked
    _settings_at_fault: bool = False  # whether a node's reason is what the server was told

    def ask(self) -> dict[str, RecordDict]:
        """Give what they said, by node name; the first one's has the arrays of a new run.

        Raises:
            TooFewNodesError: too few nodes came, or stayed.
            SettingsError: too few can work with the settings, or rounds do not fit into memory.
            TrainingFailedError: too few answer.
        """
        deadline = time.monotonic() + self.settings.client_wait_timeout
        while True:
            self._await_start(deadline)
            present = self.nodes.participants()
            asked = [who for who in present if who.name not in self._unfit]
            if self._unfit and len(asked) < self.settings.least_updates:
                raise self._explain(len(asked), len(present))
            self._refuse_excess(len(asked))
            replies = self._query(asked)
            self._look_for_faults(asked, replies)
            if asked and all(who.node_id in replies and who.name not in self._unfit for who in asked):
                return {who.name: replies[who.node_id].content for who in asked}

    def _refuse_excess(self, nodes: int) -> None:
        """Check that rounds fit into memory, before any arrays arrive.

        On Flower's engines, nodes describe themselves only when they are asked.
        """
        described = next((node.description for node in self.nodes.all() if node.description), None)
        # Where the nodes agree on something that is not a model, `_agree` explains it.
        with contextlib.suppress(ValueError):
            if described:
                memory.refuse_excess(Layout.from_description(described), nodes, self.settings)

    def _await_start(self, deadline: float) -> None:
        try:
            self.nodes.await_start(deadline)
        except TooFewNodesError:
            if not self._unfit:
                raise
            # There were enough, and those who can answer may still be.

    def _query(self, asked: list[Participant]) -> dict[int, Message]:
        queries = [
            _query(who, self.nodes.number, self.settings, with_arrays=self.is_new and who is asked[0])
            for who in asked
        ]
        then = f"the run starts if {self.settings.least_updates} nodes answered (MIN_UPDATES), or else fails"
        question = Question(0, MessageType.QUERY, then)
        replies = ask(self.grid, queries, {who.node_id: who for who in asked}, question, self.settings)
        return {reply.metadata.src_node_id: reply for reply in replies}

    def _look_for_faults(self, asked: list[Participant], replies: dict[int, Message]) -> None:
        present = {node.node_id for node in self.nodes.all() if node.is_present}
        for who in asked:
            reply = replies.get(who.node_id)
            if reply is None and who.node_id not in present and who.name not in self._left:
                self._left.add(who.name)
                warn("a node left before round 1", node=who.name)
            elif reply is None:
                self._unfit[who.name] = reason = self.nodes.explain_missing(who)
                warn("no answer", step=MessageType.QUERY, node=who.name, reason=reason)
            elif reply.has_error():
                reason = printable(reply.error.reason or "an error without a reason")
                self._unfit[who.name] = reason
                self._settings_at_fault |= reply.error.code == ERROR_CODE_BASE + SettingsError.exit_code
                warn("refused a reply", step=MessageType.QUERY, node=who.name, reason=reason)

    def _explain(self, answered: int, asked: int) -> SettingsError | TrainingFailedError:
        reasons = "; ".join(f"node {name}: {reason}" for name, reason in sorted(self._unfit.items()))
        line = (
            f"{answered} of {asked} nodes can begin, {self.settings.least_updates} needed (MIN_UPDATES):"
            f" {reasons}"
        )
        return SettingsError(line) if self._settings_at_fault else TrainingFailedError(line)


def _query(who: Participant, number: int, settings: ServerSettings, *, with_arrays: bool) -> Message:
    config = ConfigRecord({"with-arrays": with_arrays, **data_config(who, number, settings)})
    return Message(RecordDict({"config": config}), who.node_id, MessageType.QUERY, group_id="0")


def data_config(who: Participant, number: int, settings: ServerSettings) -> dict[str, str | int]:
    """Say in a message's config which part of the data a node works on."""
    share: dict[str, str | int] = {"node": who.name}
    if who.partition is not None:
        share = {"partition": who.partition, "num-partitions": number}
    return {"seed": settings.seed, "partition-rule": str(settings.partition), **share}


def _agree(descriptions: dict[str, ConfigRecord], settings: ServerSettings) -> Layout:
    """Give the layout of the one model that all nodes have."""
    first, reference = next(iter(descriptions.items()))
    for name, description in descriptions.items():
        difference = admission.find_difference(description, reference, is_shared=settings.partition.is_shared)
        if difference:
            raise TrainingFailedError(f"node {name} differs from node {first}: {printable(difference)}")
    try:
        layout = Layout.from_description(reference)
    except ValueError as error:
        raise TrainingFailedError(f"node {first}: {printable(str(error))}") from None
    if settings.dp_mode != "off" and layout.running:
        raise SettingsError(
            f"DP_MODE={settings.dp_mode}: the model has running statistics ({layout.running[0]}), which are"
            " averaged without clipping and noise; expected a model without (no BatchNorm), or DP_MODE=off"
        )
    return layout


def _check_initial(
    initial: ArrayRecord, layout: Layout, descriptions: dict[str, ConfigRecord], settings: ServerSettings
) -> ArrayRecord:
    """Give the arrays that every node made, in the model's order."""
    first = next(iter(descriptions))
    if fault := admission.find_fault_of_arrays(initial, layout):
        raise TrainingFailedError(f"node {first}: its initial arrays: {printable(fault)}")
    digest = arrays.sha256(initial)
    others = [name for name, said in descriptions.items() if said.get("initial-sha256") != digest]
    if others:
        raise TrainingFailedError(
            f"nodes {', '.join(others)} made other initial arrays than node {first} from"
            f" SEED={settings.seed}; expected the same task, pretrained weights and packages on every node"
        )
    return ArrayRecord({name: initial[name] for name in layout.arrays})
