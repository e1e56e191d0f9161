"""TensorBoard beside the containers."""

import json
import re

from server.trackers.http_client import Call, WebAddress, send
from tests.compose.stack import PATIENCE_S, Stack


def test_make_tensorboard_shows_the_runs_of_containers_on_loopback_and_cannot_write_them(
    stack: Stack,
) -> None:
    up = stack.up("--scale", "client=2", NUM_ROUNDS=2, LOCAL_EPOCHS=1, TENSORBOARD="on")
    assert up.returncode == 0, up.stdout
    shown = stack.make("tensorboard", "FROM=containers")
    assert shown.returncode == 0, shown.stderr
    found = re.search(r"http://127\.0\.0\.1:\d+", shown.stdout)
    assert found, shown.stdout
    tags = json.loads(send(WebAddress(found[0], {}), Call("GET", "/data/plugin/scalars/tags"), PATIENCE_S))
    run_id = stack.read_run()["run_id"]
    assert len(tags) == 3
    assert run_id in tags
    assert all({"evaluate/accuracy", "train/loss"} <= tags[run].keys() for run in tags)
    container = stack.container("tensorboard")
    assert container.mounts == {("runs", "/runs", False)}
    assert container.facts["HostConfig"]["ReadonlyRootfs"]
    assert container.facts["Config"]["User"] == "10001:10001"
