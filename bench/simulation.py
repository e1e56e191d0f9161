"""`python -m bench.simulation`: 100 nodes in a simulation, and on the direct link in a few processes.

Both train MNIST, divided by `dirichlet:0.5`, with a tenth of the nodes in each round, on two workers or in
two processes. Memory is the sum of the proportional set sizes (PSS) of all processes: pages that several
share count once.
"""

import argparse
import json
import os
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from subprocess import Popen

from rich.console import Console
from rich.table import Table

from bench.processes import Children, MeasurementError, free_port, wait_for_port
from fedmx.program import ArgumentParser, run_program

ROOT = Path(__file__).parents[1]
_PYTHON = ROOT / ".venv-simulation" / "bin" / "python"
_SAMPLE_S = 0.5
_PARTITION = "dirichlet:0.5"
_MEGABYTE = 1e6


@dataclass(frozen=True)
class Measured:
    """One run.

    Attributes:
        engine: its name.
        seconds: from the start of the first program to the end of the last.
        rounds_s: seconds of each round.
        cpu_s: CPU seconds of all processes, which other programs on the machine affect less.
        peak_bytes: the largest sum of the processes' PSS.
        processes: the number of processes at that moment.
        sha256: of the model.
    """

    engine: str
    seconds: float
    rounds_s: Sequence[float]
    cpu_s: float
    peak_bytes: int
    processes: int
    sha256: str


def main() -> None:
    """Measure and print a table."""
    options = _parse_options()
    measured = []
    for engine, measure in (("simulation", _simulate), ("direct link", _link)):
        if options.only in (None, engine.split()[-1]):
            print(f"measuring: {engine}, {options.nodes} nodes", flush=True)
            measured.append(measure(options))
    _show(measured)
    if len({run.sha256 for run in measured}) > 1:
        raise MeasurementError("the models differ")


def _parse_options() -> argparse.Namespace:
    parser = ArgumentParser(
        prog="python -m bench.simulation", description="Compare many nodes on two engines."
    )
    parser.add_argument("--nodes", type=int, default=100, help="nodes")
    parser.add_argument("--rounds", type=int, default=3, help="rounds")
    parser.add_argument("--fraction", type=float, default=0.1, help="fraction of nodes that train in a round")
    parser.add_argument("--processes", type=int, default=2, help="processes that hold the nodes, and workers")
    parser.add_argument("--only", choices=["simulation", "link"], help="measure one of the two engines")
    parser.add_argument("--limit", type=float, default=1800.0, help="seconds after which a run is stopped")
    return parser.parse_args()


def _simulate(options: argparse.Namespace) -> Measured:
    with Children() as children:
        env = {
            **_make_settings(options, children.folder),
            "NODES": str(options.nodes),
            "FRACTION": str(options.fraction),
        }
        started = time.monotonic()
        launcher = children.start("launcher", str(_PYTHON), "-m", "local.simulation", env=env)
        return _watch("simulation", children, launcher, started, options)


def _link(options: argparse.Namespace) -> Measured:
    with Children() as children:
        port = free_port()
        env = {
            **_make_settings(options, children.folder),
            "LISTEN_ADDRESS": f"127.0.0.1:{port}",
            "MIN_CLIENTS": str(options.nodes),
            "NUM_PARTITIONS": str(options.nodes),
            "STRATEGY_ARGS": json.dumps({"fraction_train": options.fraction}),
        }
        started = time.monotonic()
        server = children.start_module("server", "server", env=env)
        wait_for_port(port)
        for number in range(options.processes):
            first, end = (options.nodes * index // options.processes for index in (number, number + 1))
            arguments = (str(port), str(first), str(end - first))
            children.start_module(f"nodes-{number}", "bench.engines.many_nodes", *arguments, env=env)
        return _watch("direct link", children, server, started, options)


def _make_settings(options: argparse.Namespace, folder: Path) -> Mapping[str, str]:
    return {
        "RUNS_DIR": str(folder / "runs"),
        "DATA_DIR": str(ROOT / "data" / "mnist"),
        "STATUS_ADDRESS": "off",
        "LINK_SECURITY": "insecure",
        "NUM_ROUNDS": str(options.rounds),
        "PARTITION": _PARTITION,
    }


def _watch(
    engine: str, children: Children, program: "Popen[bytes]", started: float, options: argparse.Namespace
) -> Measured:
    """Read the memory of all processes until a program has ended."""
    peak, processes = 0, 0
    cpu: dict[int, float] = {}
    while program.poll() is None:
        if time.monotonic() - started > options.limit:
            raise MeasurementError(f"{engine}: not finished after {options.limit:g} s")
        pids = children.find()
        cpu.update((pid, _read_cpu(pid)) for pid in pids)
        total = sum(_read_pss(pid) for pid in pids)
        if total > peak:
            peak, processes = total, len(pids)
        time.sleep(_SAMPLE_S)
    if program.returncode != 0:
        name = "launcher" if engine == "simulation" else "server"
        raise MeasurementError(f"{engine}: {children.tail(name)}")
    seconds = time.monotonic() - started
    folder = children.folder / "runs" / "latest"
    lines = (folder / "history.jsonl").read_text().splitlines()
    rounds = [json.loads(line)["seconds"]["total"] for line in lines]
    digest = json.loads((folder / "run.json").read_text())["model_sha256"]
    return Measured(engine, seconds, rounds, sum(cpu.values()), peak, processes, digest)


def _read_pss(pid: int) -> int:
    with suppress(OSError, StopIteration):
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
        return 1024 * int(next(line for line in lines if line.startswith("Pss:")).split()[1])
    return 0


def _read_cpu(pid: int) -> float:
    with suppress(OSError):
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
    return 0.0


def _show(measured: Sequence[Measured]) -> None:
    table = Table()
    for heading in ("engine", "total s", "rounds s", "CPU s", "peak MB", "processes", "model_sha256"):
        table.add_column(heading, justify="right")
    for run in measured:
        rounds = ", ".join(f"{seconds:.1f}" for seconds in run.rounds_s)
        peak = f"{run.peak_bytes / _MEGABYTE:.0f}"
        cpu = f"{run.cpu_s:.1f}"
        row = (run.engine, f"{run.seconds:.1f}", rounds, cpu, peak, str(run.processes), run.sha256[:12])
        table.add_row(*row)
    Console(width=None if sys.stdout.isatty() else 120).print(table)


if __name__ == "__main__":
    run_program(main)
