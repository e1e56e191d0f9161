"""`python -m client`: joins the server, then loads MXNet, the model and the data, and works until goodbye."""

import socket

# Runs `lscpu` at its import. MXNet imports it too, but after gRPC has started its threads.
import numpy.testing  # noqa: F401 - imported for MXNet

from client import cpu, pki
from client.settings import load_settings
from fedmx import log, parsing
from fedmx.command_line import Usage, parse
from fedmx.link.node import LinkOptions, NodeLink
from fedmx.log import event
from fedmx.pki import credentials
from fedmx.program import run_program
from fedmx.protocol.control import Hello
from fedmx.settings import ClientSettings, CommonSettings

_USAGE = Usage(
    "python -m client",
    "Serve one node of a federation. Settings come from the environment; a blank one has its default.",
    {"settings of the client": ClientSettings, "settings of server and client": CommonSettings},
    {"pki": "request and install this site's certificate"},
)


def main() -> None:
    """Serve one node, or carry out a command of its site."""
    command, rest = parse(_USAGE)
    if command == "pki":
        pki.main(rest)
        return
    settings = load_settings()
    log.configure(settings.log_level, settings.log_format)
    link = NodeLink(
        LinkOptions(
            address=settings.server_address,
            hello=Hello(
                name=settings.node_name or _host_name(),
                is_name_given=bool(settings.node_name),
                max_model_bytes=settings.max_model_bytes,
            ),
            wait_timeout_s=settings.server_wait_timeout,
            proxy=settings.link_proxy,
            credentials=credentials.open_own(settings),
        )
    )
    # Hello is said first, so that the server knows of a node that takes seconds to import MXNet.
    link.start()
    from client import app  # noqa: PLC0415 - imports MXNet

    trainer = app.trainer()
    description = trainer.description()
    cpu.warn_if_missing(settings.cpu_isa)
    event(
        "ready",
        device=trainer.device,
        threads=settings.client_threads,
        train_examples=description["train-examples"],
        test_examples=description["test-examples"],
    )
    link.serve(app.app, description)
    event("finished")


def _host_name() -> str:
    name = socket.gethostname()[:64]
    return name if parsing.is_name(name) else "node"


if __name__ == "__main__":
    run_program(main)
