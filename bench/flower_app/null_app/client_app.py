"""The null ClientApp: train returns the arrays as they came, evaluate returns only metrics."""

from flwr.app import Context, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp

from .model import make_metrics

app = ClientApp()


@app.train()
def train(message: Message, context: Context) -> Message:
    """Return the arrays as they came, without decoding them."""
    metrics = MetricRecord(dict(make_metrics(context.node_id)))
    return Message(RecordDict({"arrays": message.content["arrays"], "metrics": metrics}), reply_to=message)


@app.evaluate()
def evaluate(message: Message, context: Context) -> Message:
    """Return metrics."""
    metrics = MetricRecord(dict(make_metrics(context.node_id)))
    return Message(RecordDict({"metrics": metrics}), reply_to=message)
