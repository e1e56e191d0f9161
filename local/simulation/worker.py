"""What a worker of the simulation executes: the ClientApp, which stays loaded from message to message.

Ray sends this module's app to its workers by name. The ClientApp itself is imported there, so that the
server's process needs no MXNet, and each worker loads it and the data once.
"""

import logging
import warnings
from functools import cache

from flwr.app import Context, Error, Message
from flwr.clientapp import ClientApp

from client.settings import load_settings
from fedmx import log
from fedmx.errors import FederationError
from fedmx.link.flower import APP_RAISED, break_record_cycles, error_of
from fedmx.log import logger, printable, warn
from fedmx.memory import share_heap


class WorkerApp(ClientApp):
    """Calls the ClientApp of the worker's process; whatever it raises becomes an error reply."""

    def __call__(self, message: Message, context: Context) -> Message:
        """Return the reply to a message."""
        try:
            return _load_app()(message, context)
        except FederationError as error:
            warn("request failed", step=message.metadata.message_type, reason=error)
            return Message(error_of(error), reply_to=message)
        except Exception as error:  # noqa: BLE001 - the app is the user's code: its failure is reported, and the worker stays
            logger.exception("the app raised in step %s", printable(message.metadata.message_type))
            return Message(Error(APP_RAISED, f"{type(error).__name__}: {error}"), reply_to=message)


@cache
def _load_app() -> ClientApp:
    """Prepare this process as a client does, and import the ClientApp."""
    share_heap()
    break_record_cycles()
    settings = load_settings()
    log.configure(settings.log_level, settings.log_format)
    logging.getLogger("flwr").setLevel(logging.ERROR)
    # Flower's simulation shows those of libraries.
    warnings.simplefilter("ignore", DeprecationWarning)
    from client.app import app  # noqa: PLC0415 - imports MXNet

    return app
