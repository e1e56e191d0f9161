"""Flower's SuperLink with two stock SuperNodes, and `flwr run` of the null app."""

import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from bench.flower_app.null_app.rounds import NODES
from bench.outcome import Job, Outcome, is_over, reduce_marks
from bench.processes import Children, MeasurementError, free_port, wait_for_port, wait_until
from fedmx.settings import environment

APP = Path(__file__).parents[1] / "flower_app"
_START_S = 60.0


def measure(job: Job) -> Outcome:
    """Start SuperLink and SuperNodes, run the app, and read the stopwatch of its ServerApp."""
    return _measure(job, {})


def measure_with_shortest_poll(job: Job) -> Outcome:
    """Measure the same with the shortest interval at which SuperLink looks for work; the default is 1 s."""
    return _measure(job, {"FLWR_SUPEREXEC_TASK_POLL_INTERVAL": "0.01"})


def _measure(job: Job, env: Mapping[str, str]) -> Outcome:
    failure = None
    peaks: dict[str, int] = {}
    with Children() as children:
        marks = children.folder / "marks.jsonl"

        def has_ended() -> bool:
            peaks.update(children.read_peaks("superlink"))
            return is_over(marks)

        try:
            _start_run(children, job, marks, env)
            # Reading /proc takes time of a core that is being measured, so poll rarely.
            wait_until(has_ended, job.limit_s, "rounds", every_s=0.5)
        except MeasurementError as error:
            failure = str(error)
        return _with_server_memory(reduce_marks(job, marks, failure), peaks)


def _start_run(children: Children, job: Job, marks: Path, more: Mapping[str, str]) -> None:
    env = {**_make_environment(children.folder), **more}
    port = free_port()
    superlink = ("flower-superlink", "--insecure", "--disable-runtime-dependency-installation")
    children.start("superlink", *superlink, "--port", str(port), env=env)
    wait_for_port(port)
    for node in range(NODES):
        supernode = ("flower-supernode", "--insecure", "--superlink", f"127.0.0.1:{port}")
        children.start(f"supernode-{node}", *supernode, "--port", str(free_port()), env=env)
    home = Path(env["FLWR_HOME"])
    home.mkdir(exist_ok=True)
    (home / "config.toml").write_text(f'[superlink.bench]\naddress = "127.0.0.1:{port}"\ninsecure = true\n')
    config = f'size="{job.size}" rounds={job.rounds + 1} marks="{marks}"'
    run = children.start("run", "flwr", "run", str(APP), "bench", "--run-config", config, env=env)
    wait_until(lambda: run.poll() is not None, _START_S, "flwr run")
    if run.returncode != 0:
        raise MeasurementError(f"flwr run: {children.tail('run')}")


def _make_environment(folder: Path) -> Mapping[str, str]:
    path = f"{Path(sys.executable).parent}:{environment().get('PATH', '')}"
    return {"PATH": path, "FLWR_HOME": str(folder / "flwr")}


def _with_server_memory(outcome: Outcome, peaks: Mapping[str, int]) -> Outcome:
    """Add up the peak memory of the server's processes, although they may peak at different times.

    The bytes at the ServerApp's connections are not those of the nodes, so they are left out.
    """
    total = sum(peaks.values())
    return replace(outcome, received=None, sent=None, base_rss=None, peak_rss=total, peaks=dict(peaks))
