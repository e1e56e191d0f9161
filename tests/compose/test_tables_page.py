"""docs/first-hour/tables.md: three hospitals with a bundle each, by the commands of the page."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.compose.conftest import build_images, make_stack
from tests.compose.stack import PATIENCE_S, ROOT, Stack
from tests.pages import list_commands

pytestmark = pytest.mark.compose

PAGE = ROOT / "docs" / "first-hour" / "tables.md"
SITES = ("hospital-a", "hospital-b", "hospital-c")
# The images exist. A bundle has a project name of its own, which a shell of the server's would replace.
FUNCTIONS = """
make() { test "$1" = build || command make "$@"; }
docker() { if test -d certs; then env -u COMPOSE_PROJECT_NAME docker "$@"; else command docker "$@"; fi; }
"""


@pytest.fixture
def server(images: None, tmp_path: Path) -> "Stack":
    build_images("--profile", "model", "build", "model")
    return make_stack(tmp_path)


def test_three_hospitals_with_a_bundle_each_train_and_predict(server: Stack, tmp_path: Path) -> None:
    for name in ("Makefile", "server", "requirements", "docker-compose.yml", "examples"):
        (tmp_path / name).symlink_to(ROOT / name)
    commands = [*list_commands(PAGE, "Three sites on one machine")[:1], *list_commands(PAGE, "Three bundles")]
    script = "\n".join(["set -e", FUNCTIONS, *(command for command, _ in commands)])
    script = script.replace("python3", sys.executable).replace("8080", str(server.port))
    script = re.sub(r"NUM_ROUNDS=\d+", "NUM_ROUNDS=2", script).replace("run --build", "run")
    sites = [Stack(f"{server.name}-{site}", tmp_path, root=tmp_path / site) for site in SITES]
    try:
        done = subprocess.run(
            ["bash", "-c", script],
            cwd=tmp_path,
            env={
                **os.environ,
                "COMPOSE_PROJECT_NAME": server.name,
                "FEDMX_VERSION": server.variables()["FEDMX_VERSION"],
            },
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=PATIENCE_S,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        run = server.read_run()
        assert run["status"] == "finished"
        assert len(re.findall(r"new_patients\.csv\[\d+\]: class (?:yes|no), ", done.stdout)) == 15
        assert (tmp_path / "model.params").exists()
        for site in sites:
            assert "revealed to the server column=age" in site.log("client")
            assert site.container("client").exit_code == 0
    finally:
        for stack in (*sites, server):
            stack.end()
