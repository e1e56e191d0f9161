"""The same apps on Flower's own engine: a SuperLink and two SuperNodes."""

import json
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from fedmx.settings import environment
from tests.federation.programs import ROOT, Federation, find_free_port

BIN = Path(sys.executable).parent


class SuperLink:
    """Flower's server side and two nodes."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.port = find_free_port()
        self.programs: list[subprocess.Popen[bytes]] = []
        self.environ = environment() | {
            "FLWR_HOME": str(folder / "flwr"),
            "PATH": f"{BIN}:{environment()['PATH']}",
            "DATA_DIR": str(ROOT / "data" / "mnist"),
            "RUNS_DIR": str(folder / "runs"),
        }
        (folder / "flwr").mkdir()
        (folder / "flwr" / "config.toml").write_text(
            f'[superlink.here]\naddress = "127.0.0.1:{self.port}"\ninsecure = true\n'
        )

    def start(self, *command: str) -> "subprocess.Popen[bytes]":
        with (self.folder / f"{len(self.programs)}.log").open("wb") as log:
            program = subprocess.Popen(
                [str(BIN / command[0]), *command[1:]],
                cwd=ROOT,
                env=self.environ,
                stdout=log,
                stderr=log,
                stdin=subprocess.DEVNULL,
                start_new_session=True,
            )
        self.programs.append(program)
        return program

    def end(self) -> None:
        for program in reversed(self.programs):
            if program.poll() is None:
                program.send_signal(signal.SIGTERM)
        for program in self.programs:
            program.wait(20)


@pytest.fixture
def superlink(tmp_path: Path) -> Iterator[SuperLink]:
    made = SuperLink(tmp_path)
    yield made
    made.end()


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_a_superlink_trains_the_same_model_round_by_round(
    superlink: SuperLink, federation: Federation
) -> None:
    port = str(superlink.port)
    superlink.start(
        "flower-superlink", "--insecure", "--disable-runtime-dependency-installation", "--port", port
    )
    for _ in range(2):
        own_port = str(find_free_port())
        superlink.start(
            "flower-supernode", "--insecure", "--superlink", f"127.0.0.1:{port}", "--port", own_port
        )
    deadline = time.monotonic() + 60
    while superlink.start("flwr", "run", ".", "here", "--run-config", "num-rounds=2").wait(60):
        assert time.monotonic() < deadline, "flwr run found no SuperLink"
    facts = superlink.folder / "runs" / "latest" / "run.json"
    while not facts.exists() or json.loads(facts.read_text())["status"] == "running":
        assert time.monotonic() < deadline + 180
        time.sleep(1)
    lines = (facts.parent / "history.jsonl").read_text().splitlines()

    assert federation.run(NUM_ROUNDS=2) == 0, federation.logs
    on_the_link = [(line["train"], line["evaluate"]) for line in federation.history]
    assert [(line["train"], line["evaluate"]) for line in map(json.loads, lines)] == on_the_link
