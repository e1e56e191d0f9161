"""A SuperLink and SuperNodes of Flower's as processes on loopback, and runs that are started on them."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.bounds import HANG_S
from tests.federation.programs import ROOT, TASKS, Program
from tests.ports import find_free_port

BIN = Path(sys.executable).parent


def make_environment(folder: Path, **settings: object) -> dict[str, str]:
    """Return the environment of Flower's programs, which the processes of the apps inherit."""
    kept = {k: v for k, v in os.environ.items() if k in ("HOME", "LD_LIBRARY_PATH")}
    own = {
        "PATH": f"{BIN}:{os.environ['PATH']}",
        "PYTHONPATH": str(TASKS),
        "FLWR_HOME": str(folder / "flwr"),
        # What a program writes is in its log at once.
        "PYTHONUNBUFFERED": "1",
        "FLWR_TELEMETRY_ENABLED": "0",
        "FLWR_DISABLE_UPDATE_CHECK": "1",
        "FLWR_SUPEREXEC_TASK_POLL_INTERVAL": "0.05",
        "TASK": "tiny_task",
        "DEVICE": "cpu",
        "RUNS_DIR": str(folder / "runs"),
        "JOIN_WINDOW": "0",
    }
    return kept | own | {name: str(value) for name, value in settings.items()}


@dataclass
class Fleet:
    """A SuperLink, and the SuperNodes that were started for it.

    Attributes:
        folder: of logs, runs, and what Flower keeps.
        settings: of all processes.
        tree: the folder with the apps.
    """

    folder: Path
    settings: Mapping[str, object] = field(default_factory=dict)
    tree: Path = ROOT
    programs: list[Program] = field(default_factory=list)
    port: int = field(default_factory=find_free_port)

    @property
    def runs_dir(self) -> Path:
        return self.folder / "runs"

    @property
    def facts(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads((self.runs_dir / "latest" / "run.json").read_text())
        return found

    @property
    def history(self) -> list[dict[str, Any]]:
        lines = (self.runs_dir / "latest" / "history.jsonl").read_text().splitlines()
        return [json.loads(line) for line in lines]

    def start_superlink(self, **settings: object) -> Program:
        (self.folder / "flwr").mkdir(exist_ok=True)
        config = f'[superlink.here]\naddress = "127.0.0.1:{self.port}"\ninsecure = true\n'
        (self.folder / "flwr" / "config.toml").write_text(config)
        options = ("--insecure", "--disable-runtime-dependency-installation", "--port", str(self.port))
        link = self._start("flower-superlink", *options, **settings)
        link.wait_for(r"Uvicorn running|Application startup complete|Started server")
        return link

    def start_supernode(self, **settings: object) -> Program:
        options = ("--insecure", "--superlink", f"127.0.0.1:{self.port}", "--port", str(find_free_port()))
        return self._start("flower-supernode", *options, **settings)

    def start_run(self, **run_config: object) -> Program:
        """Start a run; `flwr run` ends with it, and its log is that of the run."""
        return self._start("flwr", "run", str(self.tree), "here", "--stream", *_list_options(run_config))

    def run(self, **run_config: object) -> str:
        """Run, and return the log."""
        program = self.start_run(**run_config)
        program.wait(3 * HANG_S)
        return program.log

    def call(self, *arguments: str) -> str:
        """Call `flwr`, and return its output."""
        done = subprocess.run(
            ["flwr", *arguments],
            cwd=self.folder,
            env=make_environment(self.folder),
            capture_output=True,
            text=True,
            timeout=HANG_S,
            check=False,
        )
        return done.stdout + done.stderr

    def list_runs(self) -> list[dict[str, Any]]:
        """Return what the SuperLink knows of its runs, the newest first."""
        runs: list[dict[str, Any]] = json.loads(self.call("ls", "here", "--format", "json"))["runs"]
        return runs

    def end(self) -> None:
        """Stop all programs, the newest first."""
        for program in reversed(self.programs):
            if program.process.poll() is None:
                program.process.send_signal(signal.SIGTERM)
        for program in self.programs:
            program.process.wait()

    def _start(self, name: str, *arguments: str, **settings: object) -> Program:
        path = self.folder / f"{name}-{len(self.programs)}.log"
        with path.open("wb") as log:
            process = subprocess.Popen(
                [name, *arguments],
                cwd=self.folder,
                env=make_environment(self.folder, **{**self.settings, **settings}),
                stdout=log,
                stderr=log,
                stdin=subprocess.DEVNULL,
                start_new_session=True,
            )
        self.programs.append(Program(process, path))
        return self.programs[-1]


def _list_options(run_config: Mapping[str, object]) -> list[str]:
    texts = {name.replace("_", "-"): json.dumps(value) for name, value in run_config.items()}
    return ["--run-config", " ".join(f"{name}={text}" for name, text in texts.items())] if texts else []
