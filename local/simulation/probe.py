"""Asks one node of each worker whether it can train, so that a problem of all nodes is one line."""

from flwr.app import ConfigRecord, Message, MessageType, RecordDict
from flwr.serverapp import Grid

from fedmx.errors import FederationError, SettingsError, TrainingFailedError
from fedmx.link.flower import ERROR_CODE_BASE
from fedmx.log import event, printable
from fedmx.settings import ServerSettings


def check_nodes(grid: Grid, settings: ServerSettings, workers: int) -> None:
    """Let the workers load MXNet, the model and the data, all at once.

    Args:
        grid: reaches the nodes.
        settings: the server's.
        workers: the number of workers.

    Raises:
        FederationError: a node cannot train.
    """
    event("loading the model and the data", workers=workers)
    asked = list(grid.get_node_ids())[:workers]
    messages = [_build_query(node_id, number, settings) for number, node_id in enumerate(asked)]
    for reply in grid.send_and_receive(messages):
        if reply.has_error():
            raise _explain(reply)


def _build_query(node_id: int, partition: int, settings: ServerSettings) -> Message:
    """Build a query like that of a run, with the first partitions."""
    config = ConfigRecord(
        {
            "task-options": settings.hyperparameters.to_config()["task-options"],
            "schema": "",
            "with-arrays": False,
            "seed": settings.seed,
            "partition-rule": str(settings.partition),
            "partition": min(partition, settings.num_partitions - 1),
            "num-partitions": settings.num_partitions,
        }
    )
    return Message(RecordDict({"config": config}), node_id, MessageType.QUERY, group_id="0")


def _explain(reply: Message) -> FederationError:
    reason = printable(reply.error.reason or "an error without a reason")
    is_of_settings = reply.error.code == ERROR_CODE_BASE + SettingsError.exit_code
    return SettingsError(reason) if is_of_settings else TrainingFailedError(reason)
