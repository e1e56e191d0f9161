"""The null ClientApp: train gives back the arrays it got, evaluate gives metrics only."""

from flwr.app import Context, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp

from .model import make_metrics

app = ClientApp()


@app.train()
def train(message: Message, context: Context) -> Message:
    """Reply with the arrays as they came, not even decoded."""
    metrics = MetricRecord(dict(make_metrics(context.node_id)))
    return Message(RecordDict({"arrays": message.content["arrays"], "metrics": metrics}), reply_to=message)


@app.evaluate()
def evaluate(message: Message, context: Context) -> Message:
    """Reply with metrics."""
    metrics = MetricRecord(dict(make_metrics(context.node_id)))
    return Message(RecordDict({"metrics": metrics}), reply_to=message)
