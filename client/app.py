"""The ClientApp: answers the server's messages, on the direct link and on Flower's engines.

MXNet and the task are imported for the first message. If an engine cannot import an app, the server does not
learn why; like this, the reason is the reply.
"""

from collections.abc import Callable
from types import ModuleType

from flwr.app import Context, Message
from flwr.clientapp import ClientApp

from fedmx import log
from fedmx.errors import FederationError
from fedmx.flower_app import check_versions
from fedmx.link.flower import error_of
from fedmx.log import logger, printable, warn

app = ClientApp()


@app.query()
def query(message: Message, context: Context) -> Message:
    """Describe this node, and the arrays that a run starts from."""
    return _reply(message, context, lambda messages: messages.query(message))


@app.train()
def train(message: Message, context: Context) -> Message:
    """Train the global arrays on this node's share of the training set."""
    return _reply(message, context, lambda messages: messages.train(message))


@app.evaluate()
def evaluate(message: Message, context: Context) -> Message:
    """Evaluate the global arrays on this node's share of the test set."""
    return _reply(message, context, lambda messages: messages.evaluate(message))


def _reply(message: Message, context: Context, answer: Callable[[ModuleType], Message]) -> Message:
    """Return the reply, or an error whose reason is one line."""
    try:
        # Only Flower's engines have a run config.
        if context.run_config:
            check_versions()
            _configure_log()
        from client import messages  # noqa: PLC0415 - imports MXNet

        return answer(messages)
    except FederationError as error:
        group = message.metadata.group_id
        number = int(group) if group.isdecimal() else None
        warn("request failed", round=number, step=message.metadata.message_type, reason=printable(str(error)))
        return Message(error_of(error), reply_to=message)


def _configure_log() -> None:
    from client.settings import load_settings  # noqa: PLC0415 - invalid settings are an error of the reply

    if not logger.handlers:
        log.configure("INFO", "text")
    settings = load_settings()
    log.configure(settings.log_level, settings.log_format)
