"""Serves one node: joins the server, then loads MXNet, the model and the data, and works until goodbye."""

import socket

# `numpy.testing` runs `lscpu` when it is imported. MXNet imports it too, but after gRPC has started threads.
import numpy.testing  # noqa: F401 - imported for MXNet

from client import cpu
from client.app import app
from client.settings import load_settings
from fedmx import log, parsing
from fedmx.link.node import NodeLink
from fedmx.link.node_stream import LinkOptions
from fedmx.log import event
from fedmx.pki.certificates import SITE
from fedmx.pki.credentials import load_credentials
from fedmx.protocol.control import Hello


def main() -> None:
    """Serve one node, as the settings describe it."""
    settings = load_settings()
    log.configure(settings.log_level, settings.log_format)
    link = NodeLink(
        LinkOptions(
            address=settings.server_address,
            hello=Hello(
                name=settings.node_name or _find_host_name(),
                is_name_given=bool(settings.node_name),
                max_model_bytes=settings.max_model_bytes,
            ),
            wait_timeout_s=settings.server_wait_timeout,
            proxy=settings.link_proxy,
            credentials=load_credentials(SITE, settings.certs_dir, settings.link_security),
        )
    )
    # Join before importing MXNet, which takes seconds: the server can then count this node at once.
    link.start()
    from client import messages  # noqa: PLC0415 - imports MXNet

    messages.prepare()
    welcome = link.await_welcome()
    if welcome is None:
        event("finished")
        return
    description = messages.describe(welcome.task_options)
    cpu.warn_if_missing(settings.cpu_isa)
    device = messages.name_devices(welcome.task_options)
    event(
        "ready",
        device=device,
        threads=settings.client_threads,
        # Of all partitions: this node's own is known once it has a lease.
        dataset_train_examples=description.get("train-examples"),
        dataset_test_examples=description.get("test-examples"),
    )
    messages.journal.is_transfer_measured = True
    try:
        # The device may depend on a partition or a schema that is not known yet: then report the setting.
        link.serve(app, description, device or settings.device, messages.journal.add_exchange)
    finally:
        messages.journal.end(link.result)
    event("finished")


def _find_host_name() -> str:
    name = socket.gethostname()[:64]
    return name if parsing.is_name(name) else "node"
