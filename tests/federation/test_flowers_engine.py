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
from tests.bounds import HANG_S
from tests.federation.programs import ROOT, Federation
from tests.pages import find_code
from tests.ports import find_free_port

BIN = Path(sys.executable).parent


class Readme:
    """The commands of the documentation, on other ports and in other folders."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.programs: list[subprocess.Popen[bytes]] = []
        block = find_code("flower-superlink")
        for old, new in {
            "$PWD/.fedmx/flwr": str(folder / "flwr"),
            "$PWD/runs": str(folder / "runs"),
            "$PWD/.venv/bin": str(BIN),
            **{port: str(find_free_port()) for port in ("9092", "9094", "9095")},
        }.items():
            assert old in block, old
            block = block.replace(old, new)
        commands = [line.removeprefix("$ ") for line in block.splitlines() if line.startswith("$ ")]
        self.exports = [line for line in commands if line.startswith("export ")]
        self.commands = [line for line in commands if not line.startswith("export ")]

    def start(self, command: str) -> "subprocess.Popen[bytes]":
        """Start a command as a shell does that has the exports, and goes on at once."""
        script = "; ".join([*self.exports, command.removesuffix("&")])
        with (self.folder / f"{len(self.programs)}.log").open("wb") as log:
            program = subprocess.Popen(
                ["sh", "-c", script.replace("; flower-", "; exec flower-")],
                cwd=ROOT,
                env=environment(),
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
            program.wait()


@pytest.fixture
def readme(tmp_path: Path) -> Iterator[Readme]:
    made = Readme(tmp_path)
    yield made
    made.end()


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_the_commands_of_the_readme_train_the_same_model_round_by_round(
    readme: Readme, federation: Federation
) -> None:
    *before, run = readme.commands
    for command in before:
        started = readme.start(command)
        assert command.endswith("&") or started.wait(HANG_S) == 0
    deadline = time.monotonic() + HANG_S
    while readme.start(f"{run} --run-config num-rounds=2").wait(2 * HANG_S):
        assert time.monotonic() < deadline, "flwr run found no SuperLink"
    folder = readme.folder / "runs" / "latest"
    facts = json.loads((folder / "run.json").read_text())
    lines = [json.loads(line) for line in (folder / "history.jsonl").read_text().splitlines()]

    assert federation.run(NUM_ROUNDS=2) == 0, federation.logs
    assert facts["model_sha256"] == federation.facts["model_sha256"]
    on_the_link = [(line["train"], line["evaluate"]) for line in federation.history]
    assert [(line["train"], line["evaluate"]) for line in lines] == on_the_link
