"""Runs an engine that has a server program and a node program, both in one module of this package."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from bench.flower_app.null_app.rounds import NODES
from bench.outcome import Job, Outcome, is_over, reduce_marks
from bench.processes import Children, MeasurementError, free_port, wait_for_port, wait_until


def measure_pair(
    job: Job, module: str, server_env: Mapping[str, str] | None = None, extra: Sequence[str] = ()
) -> Outcome:
    """Run `module` as a server and two nodes, each in a process, and read the server's stopwatch.

    Args:
        job: what to measure.
        module: takes `server PORT SIZE ROUNDS MARKS`, with the warm-up in ROUNDS, or `node PORT NUMBER`.
        server_env: the server's environment, in addition to the inherited one.
        extra: additional arguments of both.
    """
    with Children() as children:
        marks = children.folder / "marks.jsonl"
        failure = None
        try:
            _run(children, job, (module, *extra), marks, server_env)
        except MeasurementError as error:
            failure = str(error)
        return reduce_marks(job, marks, failure)


def _run(
    children: Children,
    job: Job,
    program: tuple[str, *tuple[str, ...]],
    marks: Path,
    server_env: Mapping[str, str] | None,
) -> None:
    port = str(free_port())
    module, *extra = program
    arguments = ("server", port, job.size, str(job.rounds + 1), str(marks), *extra)
    server = children.start_module("server", module, *arguments, env=server_env)
    wait_for_port(int(port))
    for node in range(NODES):
        children.start_module(f"node-{node}", module, "node", port, str(node), *extra)
    wait_until(lambda: is_over(marks) or server.poll() is not None, job.limit_s, "rounds")
    if not is_over(marks):
        raise MeasurementError(f"the server ended: {children.tail('server')}")
