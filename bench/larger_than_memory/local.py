"""Runs the script and the task on this machine, with all of its memory."""

import subprocess

from bench.larger_than_memory.measured import Measured, Plan
from bench.processes import Children, MeasurementError, free_port, wait_until

_LIMIT_S = 3600.0


def run_script(plan: Plan, workers: int) -> Measured:
    """Run the script."""
    with Children() as children:
        _wait(
            children, "script", children.start_module("script", *plan.script_arguments(plan.folder, workers))
        )
        return Measured.of_script((children.folder / "script.log").read_text())


def run_task(plan: Plan) -> Measured:
    """Run a server and one client."""
    address = f"127.0.0.1:{free_port()}"
    with Children() as children:
        runs = children.folder / "runs"
        settings = {"LINK_SECURITY": "insecure", "RUNS_DIR": str(runs), **plan.task_settings(plan.folder)}
        server = children.start_module("server", "server", env={**settings, "LISTEN_ADDRESS": address})
        children.start_module("client", "client", env={**settings, "SERVER_ADDRESS": address})
        _wait(children, "server", server)
        return Measured.of_history((runs / "latest" / "history.jsonl").read_text())


def _wait(children: Children, name: str, process: "subprocess.Popen[bytes]") -> None:
    """Wait until a program ends.

    Raises:
        MeasurementError: it failed.
    """
    wait_until(lambda: process.poll() is not None, _LIMIT_S, name)
    if process.returncode:
        raise MeasurementError(f"{name}: exit {process.returncode}: {children.tail(name)}")
