"""Before round 1: agree on columns of the data and on the model, and fetch its initial arrays."""

import contextlib
import math
import time
from collections.abc import Mapping
from dataclasses import dataclass, field

from flwr.app import ArrayRecord, ConfigRecord, Message, MessageType, RecordDict

from fedmx import arrays
from fedmx.errors import SettingsError, TooFewNodesError, TrainingFailedError
from fedmx.link.flower import ERROR_CODE_BASE
from fedmx.listing import list_names, shorten
from fedmx.log import printable, warn
from fedmx.settings import ServerSettings
from server import admission, memory, schemas
from server.compatibility import find_difference, identity_of
from server.engine import Engine
from server.few_lines import FewLines
from server.frozen_arrays import FrozenArrays
from server.initial_model import InitialModel
from server.layout import Layout
from server.leases import Participant
from server.model import GlobalModel
from server.nodes import Nodes
from server.task_checks import check_task
from server.update import records_of
from server.waiting import Question, ask


@dataclass(frozen=True)
class Agreement:
    """What the nodes of a run agree on.

    Attributes:
        model: the model that the next round starts from.
        description: the part of their descriptions that is equal on all nodes.
    """

    model: GlobalModel
    description: Mapping[str, str | list[str]]


def agree(
    engine: Engine,
    nodes: Nodes,
    settings: ServerSettings,
    given: ArrayRecord | InitialModel | None = None,
    schema: str = "",
) -> Agreement:
    """Wait for nodes, lease partitions to them, and fetch the initial arrays.

    Args:
        engine: sends messages to the nodes.
        nodes: the nodes of the run.
        settings: the server's settings.
        given: the arrays of a resumed run, or INITIAL_MODEL; None if the nodes build the initial arrays.
        schema: what the nodes of a resumed run agreed on, in JSON; empty if they have not.

    Raises:
        TooFewNodesError: too few nodes joined or stayed connected.
        SettingsError: a node or its model does not fit the settings.
        TrainingFailedError: the nodes do not agree, or too few of them reply.
    """
    query = _Query(engine, nodes, settings, needs_arrays=given is None, schema=schema)
    contents = query.collect()
    descriptions = {
        name: next(iter(records_of(content, ConfigRecord)), ConfigRecord())
        for name, content in contents.items()
    }
    reference = next(iter(descriptions.values()))
    layout = _agree_on_layout(descriptions, settings)
    # Nodes that had to agree on columns first have described their model only now.
    memory.reject_excess(layout, len(contents), settings)
    start = _choose_start(contents, descriptions, layout, settings, given)
    engine.roster.pin(reference)
    frozen = FrozenArrays.build(start, layout, descriptions)
    return Agreement(GlobalModel(start, layout, frozen, query.schema), identity_of(reference))


@dataclass
class _Query:
    """Queries the nodes' descriptions until every node that is able to reply has replied.

    A node that fails or does not reply is left out of the agreement. The run starts without it if the other
    nodes are enough for a round. In the rounds, it is asked like any other node.

    Attributes:
        engine: sends messages to the nodes.
        nodes: the nodes of the run.
        settings: the server's settings.
        needs_arrays: whether one node has to send its initial arrays.
        schema: what the nodes agreed on, in JSON; empty as long as they have not, or if they need not.
    """

    engine: Engine
    nodes: Nodes
    settings: ServerSettings
    needs_arrays: bool
    schema: str = ""
    # Node name -> the reason why it is left out.
    _unfit: dict[str, str] = field(default_factory=dict)
    # Names of the nodes that disconnected instead of replying.
    _left: set[str] = field(default_factory=set)
    # Whether a node cannot begin because of the server's settings.
    _settings_at_fault: bool = False

    def collect(self) -> dict[str, RecordDict]:
        """Return the replies by node name; the first one contains the initial arrays of a new run.

        Raises:
            TooFewNodesError: too few nodes joined or stayed connected.
            SettingsError: the settings fit too few nodes, or rounds do not fit into memory.
            TrainingFailedError: too few nodes reply.
        """
        deadline = time.monotonic() + self.settings.client_wait_timeout
        while True:
            self._await_start(deadline)
            present = self.nodes.participants()
            asked = [who for who in present if who.name not in self._unfit]
            if self._unfit and len(asked) < self.settings.least_updates:
                raise self._explain(len(asked), len(present))
            self._reject_excess(len(asked))
            replies = self._query(asked)
            self._note_unfit(asked, replies)
            if asked and all(who.node_id in replies and who.name not in self._unfit for who in asked):
                contents = {who.name: replies[who.node_id].content for who in asked}
                if self.schema or not schemas.have_summaries(contents):
                    return contents
                self.schema = schemas.agree(contents)
                if self.settings.dp_mode != "off":
                    warn("summaries of columns are not covered by differential privacy")

    def _reject_excess(self, nodes: int) -> None:
        """Check that rounds fit into memory, before any arrays arrive."""
        if layout := self._find_described():
            memory.reject_excess(layout, nodes, self.settings)

    def _find_described(self) -> Layout | None:
        """Return the layout that a node has described when it joined; None if none has.

        On Flower's engines, the server does not know the descriptions before its first query.
        """
        described = next((node.description for node in self.nodes.all() if node.description), None)
        # If the description is not that of a model, `_agree_on_layout` reports it later.
        with contextlib.suppress(ValueError):
            return Layout.from_description(described) if described else None
        return None

    def _await_start(self, deadline: float) -> None:
        try:
            self.nodes.await_start(deadline)
        except TooFewNodesError:
            if not self._unfit:
                raise
            # Enough nodes had joined before; those that are able to reply may still be enough.

    def _query(self, asked: list[Participant]) -> dict[int, Message]:
        queries = [self._build_query(who, with_arrays=self.needs_arrays and who is asked[0]) for who in asked]
        then = (
            f"the run starts if {self.settings.least_updates} nodes reply (MIN_UPDATES), otherwise it fails"
        )
        layout = self._find_described()
        question = Question(
            0,
            MessageType.QUERY,
            then,
            self.settings.round_timeout,
            self.settings.lease_grace,
            array_bytes=layout.size if layout else math.inf,
        )
        by_id = {who.node_id: who for who in asked}
        replies = ask(self.engine, queries, by_id, question, self.nodes.activity)
        return {reply.metadata.src_node_id: reply for reply in replies}

    def _build_query(self, who: Participant, *, with_arrays: bool) -> Message:
        options = self.settings.hyperparameters.to_config()["task-options"]
        task = {"task-options": options, "schema": self.schema}
        config = ConfigRecord({"with-arrays": with_arrays, **task, **self.nodes.data_config(who)})
        return Message(RecordDict({"config": config}), who.node_id, MessageType.QUERY, group_id="0")

    def _note_unfit(self, asked: list[Participant], replies: dict[int, Message]) -> None:
        present = {node.node_id for node in self.nodes.all() if node.is_present}
        missing = self.nodes.explain_missing([who for who in asked if who.node_id not in replies])
        unanswered = FewLines("no answer", step=MessageType.QUERY)
        rejections = FewLines("rejected a reply", step=MessageType.QUERY)
        for who in asked:
            reply = replies.get(who.node_id)
            if reply is None and who.node_id not in present and who.name not in self._left:
                self._left.add(who.name)
                warn("a node left before round 1", node=who.name)
            elif reply is None:
                self._unfit[who.name] = reason = missing[who.name]
                unanswered.warn(node=who.name, reason=reason)
            elif reply.has_error():
                reason = printable(reply.error.reason or "an error without a reason")
                self._unfit[who.name] = reason
                self._settings_at_fault |= reply.error.code == ERROR_CODE_BASE + SettingsError.exit_code
                rejections.warn(node=who.name, reason=reason)
        unanswered.end()
        rejections.end()

    def _explain(self, answered: int, asked: int) -> SettingsError | TrainingFailedError:
        reasons = "; ".join(shorten([f"node {name}: {self._unfit[name]}" for name in sorted(self._unfit)]))
        line = (
            f"{answered} of {asked} nodes can begin, {self.settings.least_updates} needed (MIN_UPDATES):"
            f" {reasons}"
        )
        return SettingsError(line) if self._settings_at_fault else TrainingFailedError(line)


def _agree_on_layout(descriptions: dict[str, ConfigRecord], settings: ServerSettings) -> Layout:
    """Check that all nodes have the same model, and return its layout."""
    first, reference = next(iter(descriptions.items()))
    for name, description in descriptions.items():
        difference = find_difference(description, reference, is_shared=settings.partition.is_shared)
        if difference:
            raise TrainingFailedError(f"node {name} differs from node {first}: {printable(difference)}")
    try:
        layout = Layout.from_description(reference)
    except ValueError as error:
        raise TrainingFailedError(f"node {first}: {printable(str(error))}") from None
    check_task(layout, settings)
    return layout


def _choose_start(
    contents: dict[str, RecordDict],
    descriptions: dict[str, ConfigRecord],
    layout: Layout,
    settings: ServerSettings,
    given: ArrayRecord | InitialModel | None,
) -> ArrayRecord:
    """Return the arrays that the next round starts from, checked, in the model's order."""
    first = next(iter(contents))
    if given is None:
        initial = next(iter(records_of(contents[first], ArrayRecord)), ArrayRecord())
        return _check_initial(initial, layout, descriptions, settings)
    if isinstance(given, InitialModel):
        return given.load(layout, settings.max_model_bytes)
    if problem := admission.find_problem_in_arrays(given, layout.arrays):
        raise SettingsError(
            f"the model of the resumed run does not fit node {first}: {problem}; expected the same TASK as"
            " before, or RESUME=never to start a new run"
        )
    return given


def _check_initial(
    initial: ArrayRecord, layout: Layout, descriptions: dict[str, ConfigRecord], settings: ServerSettings
) -> ArrayRecord:
    """Check that every node has the same initial arrays, and return them in the model's order."""
    first = next(iter(descriptions))
    if problem := admission.find_problem_in_arrays(initial, layout.arrays):
        raise TrainingFailedError(f"node {first}: its initial arrays: {printable(problem)}")
    digest = arrays.sha256(initial)
    others = [
        name for name, description in descriptions.items() if description.get("initial-sha256") != digest
    ]
    if others:
        raise TrainingFailedError(
            f"nodes {list_names(others)} built different initial arrays than node {first} from"
            f" SEED={settings.seed}; expected the same task, pretrained weights and packages on every node"
        )
    # Frozen arrays stay for the whole run: in the file of the updates, they would keep it from being emptied.
    return arrays.make_record({name: arrays.hold(initial[name]) for name in layout.arrays})
