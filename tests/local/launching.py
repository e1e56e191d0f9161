"""A copy of the launcher that starts short scripts in place of the server and the client."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import psutil

from tests.bounds import HANG_S
from tests.screens import Terminal

ROOT = Path(__file__).resolve().parents[2]
NODE = {"examples": 50, "seconds": 1.0, "bytes_up": 9, "bytes_down": 9, "partition": 0, "metrics": {}}
ROUND = {
    "train": {"num_examples": 100, "metrics": {"loss": 0.5, "accuracy": 0.8}},
    "evaluate": {"num_examples": 20, "metrics": {"loss": 0.25, "accuracy": 0.9125, "f1": 0.75}},
    "nodes": [{"name": "local.client-1", **NODE}, {"name": "local.client-2", **NODE}],
    "missing": [],
    "left_out": [],
    "rejected": [],
    "seconds": {"total": 1.5},
}

PROGRAM = """
import json, os, pathlib, signal, sys, time
runs = pathlib.Path(os.environ.get("RUNS_DIR", "runs"))
def train(rounds):
    folder = runs / "run-1"
    folder.mkdir(parents=True)
    facts = {"model_sha256": "5ee1", "settings": {"NUM_ROUNDS": int(os.environ.get("ROUNDS", "1"))}}
    (folder / "run.json").write_text(json.dumps(facts))
    (runs / "latest").symlink_to("run-1")
    with (folder / "history.jsonl").open("w") as history:
        for number in range(1, rounds + 1):
            history.write(f'{{"round": {number}, {os.environ["ROUND"]}\\n')
    (folder / "model.npz").touch()
def say(level, text):
    print(f"2026-11-25T12:00:00.000+01:00 {level:<7} {text}", file=sys.stderr, flush=True)
def wait(seconds=1000):
    say("INFO", "waiting")
    time.sleep(seconds)
"""

SERVER = (
    PROGRAM
    + """
exec(os.environ.get("SERVER_FIRST", ""))
with open(int(os.environ["READY_FD"]), "w") as pipe:
    run_dir = runs / os.environ.get("RUN", "run-1")
    url = os.environ.get("URL", "")
    print('{"address": "127.0.0.1:8080", "run_dir": "%s", "url": "%s"}' % (run_dir, url), file=pipe)
say("INFO", "listening")
exec(os.environ["SERVER_DOES"])
"""
)

CLIENT = (
    PROGRAM
    + """
exec(os.environ["CLIENT_DOES"])
"""
)


class Launcher:
    """A copy of the launcher beside stand-in programs; each does what its variable says, in Python."""

    def __init__(self, root: Path) -> None:
        self.root = root
        for package in ("fedmx", "local", "server"):
            shutil.copytree(ROOT / package, root / package, ignore=shutil.ignore_patterns("__pycache__"))
        (root / "server" / "__main__.py").write_text(SERVER)
        (root / "client.py").write_text(CLIENT)
        self.started: list[subprocess.Popen[str]] = []
        self.terminals: list[Terminal] = []
        self.default_environment = {
            "PATH": os.defpath,
            "ROUND": json.dumps(ROUND)[1:],
            "CLIENT_DOES": "",
            "LINK_SECURITY": "insecure",  # the stand-ins show no certificates
        }

    def be_patient(self) -> None:
        """Have the launcher wait longer for programs to end by themselves than a test waits for it."""
        path = self.root / "local" / "federation.py"
        source = path.read_text()
        assert "\n_GRACE_S = 5.0\n" in source
        path.write_text(source.replace("\n_GRACE_S = 5.0\n", f"\n_GRACE_S = {2 * HANG_S}\n"))

    def start(self, environment: Mapping[str, str], stdout: int = subprocess.PIPE) -> "subprocess.Popen[str]":
        process = subprocess.Popen(
            [sys.executable, "-m", "local"],
            cwd=self.root,
            env={**self.default_environment, **environment},
            stdin=subprocess.DEVNULL,
            stdout=stdout,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self.started.append(process)
        return process

    def start_on_terminal(self, environment: Mapping[str, str], size: tuple[int, int]) -> Terminal:
        command = [sys.executable, "-m", "local"]
        terminal = Terminal(
            command, {**self.default_environment, "TERM": "xterm", **environment}, self.root, size
        )
        self.terminals.append(terminal)
        return terminal

    def run(self, **environment: str) -> tuple[int, list[str]]:
        process = self.start(environment)
        output, _ = process.communicate(timeout=HANG_S)
        return process.returncode, output.splitlines()

    def start_and_await_programs(
        self, server_does: str = "wait()", **environment: str
    ) -> tuple["subprocess.Popen[str]", list[psutil.Process]]:
        process = self.start({"SERVER_DOES": server_does, "CLIENT_DOES": "wait()", **environment})
        assert process.stdout
        waiting = 0
        while waiting < 3:
            waiting += "waiting" in process.stdout.readline()
        children = psutil.Process(process.pid).children(recursive=True)
        assert len(children) == 3
        return process, children
