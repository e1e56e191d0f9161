"""The reporter that runs the status server, until the outcome of the run was read."""

import time

from fedmx.log import event
from fedmx.parsing import parse_ip
from fedmx.settings import ServerSettings
from fedmx.values import Address
from server.report import Opening, Outcome, RoundReport, RunFacts
from server.reporting.reporter import Reporter
from server.status.certificates import OwnCertificates
from server.status.guard import Guard
from server.status.hosts import HostNames
from server.status.listening import Listener
from server.status.live import LiveRun
from server.status.metrics import Metrics
from server.status.routes import Routes
from server.status.stored import StoredRuns


class StatusServer(Reporter):
    """Serves the status of a run.

    Args:
        settings: the server's, with an address.
        address: STATUS_ADDRESS.

    Raises:
        SettingsError: the address cannot be listened on.
    """

    # It only writes to memory.
    in_background = False

    def __init__(self, settings: ServerSettings, address: Address) -> None:
        self._settings = settings
        self._listener = Listener(address)
        certificates = OwnCertificates.read(settings.certs_dir, settings.link_security)
        hosts = HostNames([*settings.status_names, *certificates.names, *_name_itself(address)])
        self._live = LiveRun(Metrics(certificates.expiries))
        self._routes = Routes(self._live, StoredRuns(settings.runs_dir))
        self._listener.start(Guard(self._routes.build_app(), hosts))
        self.url = f"http://{self._listener.address.reachable_locally()}/"
        self._announce()

    def on_open(self, opening: Opening) -> None:
        """Show that a run waits for nodes."""
        self._live.open(opening)

    def on_run(self, _: RunFacts) -> None:
        """Show that the training starts."""
        self._live.start()

    def on_round(self, report: RoundReport) -> None:
        """Show a finished round."""
        self._live.add(report)

    def on_end(self, outcome: Outcome) -> None:
        """Show how the run ended."""
        self._live.end(outcome)

    def close(self, *, is_stopped: bool) -> None:
        """Stop, after the final metrics were read or STATUS_LINGER has passed."""
        if self._live.has_ended and not is_stopped:
            self._wait_for_readers()
        self._listener.stop()

    def _wait_for_readers(self) -> None:
        deadline = time.monotonic() + self._settings.status_linger
        self._routes.await_final_status()
        self._routes.final_metrics_were_read.wait(max(0.0, deadline - time.monotonic()))

    def _announce(self) -> None:
        address = self._listener.address
        if _name_itself(address):
            event("status page", url=self.url)
        else:
            # This is probably a container, which the machine publishes at another address.
            hint = "of containers, `make status` prints the URL"
            event("status page", address=address, hint=hint)


def _name_itself(address: Address) -> list[str]:
    """Return the host to listen on, unless that means every address of this machine."""
    ip = parse_ip(address.host)
    return [] if ip is not None and ip.is_unspecified else [address.host]
