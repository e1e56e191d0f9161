"""The null ClientApp: train changes one value of each array, evaluate returns only metrics."""

from flwr.app import Array, ArrayRecord, Context, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp

from .model import change_file, make_metrics

app = ClientApp()


@app.train()
def train(message: Message, context: Context) -> Message:
    """Return the arrays, each with another first value, without decoding them."""
    received = message.content["arrays"]
    if not isinstance(received, ArrayRecord):
        raise TypeError("expected a record of arrays")
    changed = ArrayRecord({name: _change(array, context.node_id) for name, array in received.items()})
    metrics = MetricRecord(dict(make_metrics(context.node_id)))
    return Message(RecordDict({"arrays": changed, "metrics": metrics}), reply_to=message)


@app.evaluate()
def evaluate(message: Message, context: Context) -> Message:
    """Return metrics."""
    metrics = MetricRecord(dict(make_metrics(context.node_id)))
    return Message(RecordDict({"metrics": metrics}), reply_to=message)


def _change(array: Array, node: int) -> Array:
    return Array(array.dtype, array.shape, array.stype, change_file(array.data, node))
