"""The pods of a SuperLink fleet on Kubernetes train on Docker's engine, with a kubelet's mounts."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from fedmx import __version__
from tests.compose.pods import Cluster, read_folder
from tests.compose.stack import PROJECT, ROOT, name_image
from tests.kubernetes.manifests import find_workload, read_rendered

pytestmark = pytest.mark.compose

OBJECTS = read_rendered("superlink")
SUPERLINK = find_workload(OBJECTS, "StatefulSet/superlink")
REGISTER = find_workload(OBJECTS, "Job/register")
SERVERAPP = find_workload(OBJECTS, "Deployment/serverapp")
SUPERNODES = {number: find_workload(OBJECTS, f"Deployment/supernode-{number}") for number in (1, 2)}
SETTINGS = {"NUM_ROUNDS": "1", "LOCAL_EPOCHS": "1", "JOIN_WINDOW": "0"}
IMAGES = {f"fedmx-{program}:{__version__}": name_image(program) for program in ("server", "client")}


@pytest.fixture
def cluster(images: None, tmp_path: Path) -> Iterator[Cluster]:
    """A network, and the Secrets and volumes of the overlay `superlink`."""
    subprocess.run(
        [sys.executable, "-m", "server", "pki", "fleet", "--supernodes", "2"],
        cwd=ROOT,
        env={**os.environ, "PKI_DIR": str(tmp_path)},
        capture_output=True,
        check=True,
    )
    fleet = tmp_path / "fleet"
    made = Cluster(f"{PROJECT}-fleet-pods", OBJECTS, IMAGES, SETTINGS)
    made.begin()
    try:
        made.add_secret("server-certificate", read_folder(tmp_path / "server"), SUPERLINK)
        made.add_secret("fleet", read_folder(fleet / "superlink"), SUPERLINK)
        for number, supernode in SUPERNODES.items():
            files = {
                **read_folder(fleet / "supernodes"),
                **read_folder(fleet / "supernodes" / str(number)),
            }
            made.add_secret(f"supernode-{number}", files, supernode)
        made.add_claim("state-superlink-0", SUPERLINK)
        made.add_claim("runs", SERVERAPP)
        yield made
    finally:
        made.end()


def test_a_run_that_is_submitted_in_the_pod_of_the_server_app_is_trained(cluster: Cluster) -> None:
    cluster.start("superlink", SUPERLINK)
    cluster.hosts["server"] = cluster.find_address("superlink")
    cluster.start("serverapp", SERVERAPP)
    attempts = 1
    cluster.start("register-1", REGISTER)
    while cluster.wait(f"register-{attempts}"):
        # The SuperLink is starting; the Job would try again, too.
        assert cluster.is_running("superlink"), cluster.log("superlink")
        assert attempts < REGISTER.facts["spec"]["backoffLimit"], cluster.log(f"register-{attempts}")
        attempts += 1
        cluster.start(f"register-{attempts}", REGISTER)
    for number, supernode in SUPERNODES.items():
        cluster.start(f"supernode-{number}", supernode)
    submitted = cluster.run_in("serverapp", ["python", "-m", "server", "fleet", "run", "/opt/app"])
    assert submitted.returncode == 0, submitted.stdout + submitted.stderr + cluster.log("supernode-1")
    copied = cluster.run_in("serverapp", ["test", "-s", "/runs/latest/model.params"])
    assert copied.returncode == 0
