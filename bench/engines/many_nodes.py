"""A process that holds several nodes of the direct link: `many_nodes.py PORT FIRST COUNT`.

Each node has a stream and a thread of its own. They share one ClientApp, with one network and one dataset,
which trains one of them at a time, as a worker of the simulation does.
"""

import sys
import threading

# `numpy.testing` runs `lscpu` when it is imported. MXNet imports it too, but after gRPC has started threads.
import numpy.testing  # noqa: F401 - imported for MXNet
from flwr.app import Context, Message
from flwr.clientapp import ClientApp

from client.app import app
from client.settings import load_settings
from fedmx import log
from fedmx.link.node import NodeLink
from fedmx.link.node_stream import LinkOptions
from fedmx.memory import share_heap
from fedmx.protocol.control import Hello
from fedmx.values import Address


class SharedApp(ClientApp):
    """Calls an app for one node at a time.

    Args:
        app: the app.
    """

    def __init__(self, app: ClientApp) -> None:
        super().__init__()
        self._app = app
        self._turn = threading.Lock()

    def __call__(self, message: Message, context: Context) -> Message:
        """Return the reply to a message."""
        with self._turn:
            return self._app(message, context)


def main(port: str, first: str, count: str) -> None:
    """Serve the nodes until the server's goodbye."""
    share_heap()
    settings = load_settings()
    log.configure("ERROR", settings.log_format)
    links = [_join(Address("127.0.0.1", int(port)), int(first) + i) for i in range(int(count))]
    from client import messages  # noqa: PLC0415 - imports MXNet

    messages.prepare()
    shared = SharedApp(app)
    threads = []
    for link in links:
        welcome = link.await_welcome()
        if welcome is None:
            continue
        description = messages.describe(welcome.task_options)
        threads.append(threading.Thread(target=link.serve, args=(shared, description)))
        threads[-1].start()
    for thread in threads:
        thread.join()


def _join(address: Address, number: int) -> NodeLink:
    settings = load_settings()
    hello = Hello(f"node-{number}", is_name_given=True, max_model_bytes=settings.max_model_bytes)
    link = NodeLink(LinkOptions(address=address, hello=hello, wait_timeout_s=60.0))
    link.start()
    return link


if __name__ == "__main__":
    main(*sys.argv[1:])
