"""The pods of deploy/kubernetes train on Docker's engine, with what a kubelet would give them."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import pytest

from fedmx import __version__
from tests.compose.pods import Cluster, read_folder
from tests.compose.stack import PATIENCE_S, PROJECT, ROOT, name_image
from tests.kubernetes.manifests import find_workload, read_rendered
from tests.small_mnist import write_small_mnist

pytestmark = pytest.mark.compose

OBJECTS = read_rendered("sites")
SITES = ("hospital-a", "hospital-b")
SERVER = find_workload(OBJECTS, "Job/server")
CLIENTS = {site: find_workload(OBJECTS, f"Deployment/client-{site}") for site in SITES}
RUNS = find_workload(OBJECTS, "Deployment/runs")
# What a kustomization of one's own adds to the ConfigMaps.
# The run does not end before the test stops its server.
SETTINGS = {"NUM_ROUNDS": "100000", "LOCAL_EPOCHS": "1", "JOIN_WINDOW": "0"}
IMAGES = {f"fedmx-{program}:{__version__}": name_image(program) for program in ("server", "client")}


@pytest.fixture
def cluster(images: None, tmp_path: Path) -> Iterator[Cluster]:
    """A network, and the Secrets and volumes of the overlay `sites`."""
    for command in (["ensure"], *(["site", site] for site in SITES)):
        subprocess.run(
            [sys.executable, "-m", "server", "pki", *command],
            cwd=ROOT,
            env={**os.environ, "PKI_DIR": str(tmp_path / "pki")},
            capture_output=True,
            check=True,
        )
    write_small_mnist(tmp_path / "data")
    made = Cluster(f"{PROJECT}-pods", OBJECTS, IMAGES, dict(SETTINGS))
    made.begin()
    try:
        made.add_secret("server-certificate", read_folder(tmp_path / "pki" / "server"), SERVER)
        made.add_claim("runs", SERVER)
        for site, client in CLIENTS.items():
            made.add_secret(f"site-{site}", read_folder(tmp_path / "pki" / "sites" / site), client)
            made.add_claim(f"data-{site}", client, read_folder(tmp_path / "data"))
        yield made
    finally:
        made.end()


def wait_for(cluster: Cluster, pod: str, text: str) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while text not in (log := cluster.log(pod)):
        assert time.monotonic() < deadline, log
        # The engine cannot follow a log until a certain line.
        time.sleep(0.1)


def show_run(cluster: Cluster) -> dict[str, Any]:
    shown = cluster.run_in("runs", ["python", "-m", "server", "runs", "show", "latest", "--json"])
    return cast("dict[str, Any]", json.loads(shown.stdout))


def test_pods_with_kubernetes_mounts_train_and_a_replaced_server_resumes(cluster: Cluster) -> None:
    [container] = SERVER.containers
    # No name `server` exists yet, as in a cluster where no server is ready.
    for site, client in CLIENTS.items():
        cluster.start(site, client)
    for site in SITES:
        wait_for(cluster, site, "still connecting")
    cluster.start("server-1", SERVER, "server")
    check = container["startupProbe"]["exec"]["command"]
    while cluster.run_in("server-1", check).returncode:
        assert cluster.is_running("server-1"), cluster.log("server-1")
    assert cluster.run_in("server-1", container["livenessProbe"]["exec"]["command"]).returncode == 0
    wait_for(cluster, "server-1", "round finished")
    assert cluster.stop("server-1", SERVER) == 143, cluster.log("server-1")
    cluster.start("runs", RUNS)
    stopped = show_run(cluster)
    assert stopped["status"] == "interrupted", stopped
    # What a Job does next, here with a ConfigMap that lets the run end.
    rounds = stopped["rounds"] + 2
    cluster.settings["NUM_ROUNDS"] = str(rounds)
    cluster.start("server-2", SERVER, "server")
    assert cluster.wait("server-2") == 0, cluster.log("server-2")
    for site in SITES:
        assert cluster.wait(site) == 0, cluster.log(site)
    run = show_run(cluster)
    assert (run["status"], run["rounds"]) == ("finished", rounds), run
    assert {node["name"] for node in run["nodes"]} == {f"{site}.client" for site in SITES}
    copied = cluster.run_in("runs", ["test", "-s", "/runs/latest/model.params"])
    assert copied.returncode == 0
