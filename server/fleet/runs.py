"""A run on a fleet: submitted, followed to its end, and summed up."""

import dataclasses
import json
import re
import time
from collections.abc import Iterator
from pathlib import Path

from fedmx.errors import SettingsError, StopSignal, TrainingFailedError, UnreachableError
from fedmx.fields import describe
from fedmx.log import printable
from fedmx.run_settings import RunSettings
from server.fleet.flwr import Flwr
from server.run_commands.find import find_run, read_document
from server.run_commands.showing import show_lines

# LOG_FORMAT is text or json.
_STARTED = re.compile(r'\brun (?:started|resumed)\b.*?\brun(?:=|": ")([^\s"]+)')
_OVER = "finished"
_COMPLETED, _STOPPED = "finished:completed", "finished:stopped"
# A run is over a moment after the last line of its log.
_END_TIMEOUT_S = 60.0
_POLL_S = 0.5


class FleetRun:
    """A run that was submitted to a SuperLink.

    Args:
        flwr: Flower's command line.
        number: the id that the SuperLink gave it.
    """

    def __init__(self, flwr: Flwr, number: str) -> None:
        self._flwr = flwr
        self.number = number
        self.run_id = ""

    @classmethod
    def submit(cls, flwr: Flwr, app: Path, settings: RunSettings) -> "FleetRun":
        """Submit a run of the apps in a folder.

        Raises:
            SettingsError: another run is not over.
            RefusedError: the SuperLink refused it.
            UnreachableError: no SuperLink answers.
        """
        check_idle(flwr)
        path = flwr.folder / "run.toml"
        path.write_text("".join(f"{line}\n" for line in write_run_config(settings)), encoding="utf-8")
        answer = flwr.ask("run", str(app), "--run-config", str(path))
        return cls(flwr, str(answer["run-id"]))

    def follow(self) -> None:
        """Print the log until the run is over.

        Raises:
            StopSignal: this program was stopped; the run continues.
        """
        with self._flwr.start("log", self.number) as log:
            try:
                assert log.stdout is not None  # noqa: S101 - for mypy: it is a pipe
                for line in log.stdout:
                    print(line, end="", flush=True)
                    self.run_id = find_run_id(line) or self.run_id
            except StopSignal:
                log.kill()
                raise

    def find_status(self) -> tuple[str, str]:
        """Return how the run ended, and why; wait a moment for it.

        Raises:
            UnreachableError: no SuperLink answers, or the run has not ended.
        """
        deadline = time.monotonic() + _END_TIMEOUT_S
        while True:
            is_last = time.monotonic() > deadline
            try:
                [found] = self._flwr.ask("list", "--run-id", self.number)["runs"]
            except UnreachableError:
                # The log ends as well where the connection is lost.
                if is_last:
                    raise
            else:
                if found["status"].startswith(_OVER):
                    return found["status"], found["status-details"]
                if is_last:
                    raise UnreachableError(
                        f"run {self.number}: {found['status']}, but its log has ended; `make superlink"
                        f" ARGS='follow {self.number}'` follows it again"
                    )
            time.sleep(_POLL_S)

    def sum_up(self, runs_dir: Path) -> None:
        """Print the run's result.

        Args:
            runs_dir: the folder of the runs.

        Raises:
            FederationError: the run failed or was stopped; it has the exit code of the ServerApp.
        """
        status, details = self.find_status()
        document = None
        if self.run_id:
            run = find_run(runs_dir, self.run_id)
            document = read_document(runs_dir, run)
            print()
            for line in show_lines(document, runs_dir / self.run_id, run.seconds):
                print(line)
        if status == _COMPLETED:
            return
        if status == _STOPPED:
            raise TrainingFailedError(
                f"run {self.number}: stopped; RESUME=force with the same settings resumes it"
            )
        error = TrainingFailedError(f"run {self.number}: {status}: {printable(details)}")
        if document is not None and document["exit_code"]:
            error.exit_code = document["exit_code"]
        raise error


def find_run_id(line: str) -> str | None:
    """Return the id of a run in RUNS_DIR if a line of the ServerApp's log has it."""
    found = _STARTED.search(line)
    return found[1] if found else None


def check_idle(flwr: Flwr) -> None:
    """Check that no run is in progress: two would share a folder, and an update of the fleet would end it.

    Raises:
        SettingsError: one is.
        RefusedError: the SuperLink refused to list the runs.
        UnreachableError: no SuperLink answers.
    """
    for run in flwr.ask("list")["runs"]:
        if not run["status"].startswith(_OVER):
            number = run["run-id"]
            raise SettingsError(
                f"run {number}: {run['status']}; expected no other run: wait for its end"
                f" (`make superlink ARGS='follow {number}'`) or stop it"
                f" (`make superlink ARGS='stop {number}'`)"
            )


def write_run_config(settings: RunSettings) -> Iterator[str]:
    """Yield the lines of Flower's run config, which is TOML without tables."""
    names = {field.name.upper() for field in dataclasses.fields(RunSettings)}
    for name, value in describe(settings).items():
        if name not in names:
            continue
        # TOML rejects the surrogate pairs of JSON's escapes.
        text = json.dumps(json.dumps(value) if isinstance(value, dict) else value, ensure_ascii=False)
        yield f"{name.lower().replace('_', '-')} = {text}"
