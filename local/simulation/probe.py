"""Asks one node of each worker whether it can train, so that a problem of all nodes is one line."""

from flwr.app import ConfigRecord, Message, MessageType, RecordDict

from fedmx.errors import FederationError, SettingsError, TrainingFailedError
from fedmx.link.flower import ERROR_CODE_BASE
from fedmx.log import event, printable
from fedmx.settings import ServerSettings
from server.engine import Engine


def check_nodes(engine: Engine, settings: ServerSettings, workers: int) -> None:
    """Let the workers load MXNet, the model and the data, all at once.

    Args:
        engine: reaches the nodes.
        settings: the server's.
        workers: the number of workers.

    Raises:
        FederationError: a node cannot train.
    """
    event("loading the model and the data", workers=workers)
    nodes = [node.node_id for node in engine.roster.nodes()]
    # NUM_PARTITIONS=0 is one for each node.
    partitions = settings.num_partitions or len(nodes)
    messages = [
        _build_query(node_id, (min(number, partitions - 1), partitions), settings)
        for number, node_id in enumerate(nodes[:workers])
    ]
    for reply in engine.send_and_receive(messages):
        if reply.has_error():
            raise _explain(reply)


def _build_query(node_id: int, partition: tuple[int, int], settings: ServerSettings) -> Message:
    """Build a query like that of a run, with a partition, and the number of partitions."""
    index, count = partition
    config = ConfigRecord(
        {
            "task-options": settings.hyperparameters.to_config()["task-options"],
            "schema": "",
            "with-arrays": False,
            "seed": settings.seed,
            "partition-rule": str(settings.partition),
            "partition": index,
            "num-partitions": count,
        }
    )
    return Message(RecordDict({"config": config}), node_id, MessageType.QUERY, group_id="0")


def _explain(reply: Message) -> FederationError:
    reason = printable(reply.error.reason or "an error without a reason")
    is_of_settings = reply.error.code == ERROR_CODE_BASE + SettingsError.exit_code
    return SettingsError(reason) if is_of_settings else TrainingFailedError(reason)
