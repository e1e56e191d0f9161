"""Who is notified of the end of a run by the real server."""

import re
import signal
from pathlib import Path

from tests.federation.programs import Federation
from tests.web import recording_server


def test_a_server_that_is_stopped_notifies_or_logs_that_it_had_no_time(
    federation: Federation, tmp_path: Path
) -> None:
    with recording_server() as web:
        settings = {"ON_END_WEBHOOK": web.url, "ON_END_COMMAND": f"cat > {tmp_path}/message.json"}
        server = federation.start_server(**settings)
        server.wait_for("waiting for nodes")
        code = server.stop(signal.SIGTERM)
    assert code == 128 + signal.SIGTERM
    # There are two seconds, which a busy machine may need for something else.
    if re.search("webhook failed|command failed|reporter hangs", server.log):
        return
    [request] = web.received
    assert request.json["outcome"] == "interrupted"
    assert (tmp_path / "message.json").read_bytes() == request.body


def test_a_run_without_enough_nodes_notifies_of_its_failure(federation: Federation) -> None:
    with recording_server() as web:
        server = federation.start_server(ON_END_WEBHOOK=web.url, CLIENT_WAIT_TIMEOUT=0.1)
        assert server.wait() == 3
    [request] = web.received
    assert (request.json["outcome"], request.json["exit_code"]) == ("failed", 3)
