"""`python -m bench.larger_than_memory`: trains on data larger than a container's memory; prints a table.

The script and the task are run alternately, so that a change of the machine's speed affects both.
"""

import argparse
import math
import statistics
import tempfile
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from itertools import product
from pathlib import Path
from typing import Protocol

from rich.console import Console
from rich.table import Table

from bench.bars import MB
from bench.larger_than_memory import local, sets
from bench.larger_than_memory.containers import Stack
from bench.larger_than_memory.measured import Measured, Plan
from bench.options import choose
from bench.processes import MeasurementError
from fedmx.program import ArgumentParser, run_program

PLACES = ("local", "container")
NETWORKS = ("small", "medium")
SMALLEST_RATIO = 0.9

Run = Callable[[], Measured]
Pair = tuple[Measured, Measured]


class Place(Protocol):
    """Where programs run."""

    def run_script(self, plan: Plan, workers: int) -> Measured:
        """Run the script, with worker processes of its DataLoader."""

    def run_task(self, plan: Plan) -> Measured:
        """Run a server and one client."""


def main() -> None:
    """Measure what the options select, and print each training as soon as it is measured."""
    options = _parse_options()
    table = Table(title=f"Training on {options.gigabytes:g} GB: examples per second, MB of processes")
    for title in ("place", "data", "network", "script", "task", "task / script", "script MB", "task MB", ""):
        table.add_column(title, justify="right")
    with ExitStack() as stack:
        folder = options.folder or Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="fedmx-")))
        folder.mkdir(parents=True, exist_ok=True)
        # The container's user reads it.
        folder.chmod(0o755)
        places: dict[str, Place] = {"local": local}
        if "container" in options.places:
            places["container"] = stack.enter_context(Stack(options.memory, options.cores))
        for kind, network in product(options.kinds, options.networks):
            plan = Plan((folder / kind).resolve(), kind, network, options.epochs)
            sets.write(plan.folder, kind, int(options.gigabytes * 1000 * MB))
            for place in options.places:
                table.add_row(place, kind, network, *_describe(_measure(plan, options, places[place])))
    Console(width=150).print(table)


def _measure(plan: Plan, options: argparse.Namespace, place: Place) -> list[Pair]:
    """Run script and task in turn, each with an empty page cache."""
    runs: dict[str, Run] = {
        "script": partial(place.run_script, plan, options.workers),
        "task": partial(place.run_task, plan),
    }
    pairs = []
    for _ in range(options.repeats):
        found = {}
        for name, run in runs.items():
            sets.forget(plan.folder)
            found[name] = _try(run)
            print(plan.kind, plan.network, name, f"{found[name].rate:.1f} examples/s", flush=True)
        pairs.append((found["script"], found["task"]))
    return pairs


def _try(run: Run) -> Measured:
    """Measure a training; one that fails, such as a script that needs more memory, is shown as no rate."""
    try:
        return run()
    except MeasurementError as error:
        print(error, flush=True)
        return Measured(math.nan)


def _describe(pairs: list[Pair]) -> list[str]:
    scripts, tasks = zip(*pairs, strict=True)
    ratios = [task.rate / script.rate for script, task in pairs]
    ratio = statistics.median(ratios)
    # Where the script fails, the task has no rate to reach.
    is_met = not any(math.isnan(task.rate) for task in tasks) and not ratio < SMALLEST_RATIO
    return [
        *(f"{statistics.median(each.rate for each in runs):.0f}" for runs in (scripts, tasks)),
        f"{ratio:.2f} ({min(ratios):.2f} - {max(ratios):.2f})",
        *(f"{max(each.peak for each in runs) / MB:.0f}" for runs in (scripts, tasks)),
        "met" if is_met else "MISSED",
    ]


def _parse_options() -> argparse.Namespace:
    parser = ArgumentParser(
        prog="python -m bench.larger_than_memory",
        description="Train on generated data in a script and in a federation of one client.",
    )
    add = parser.add_argument
    add("--gigabytes", type=float, default=2.0, help="size of each dataset")
    add("--folder", type=Path, help="where datasets are written and kept; default: a temporary folder")
    add("--kinds", type=choose(sets.KINDS), default=sets.KINDS, help=",".join(sets.KINDS))
    add("--networks", type=choose(NETWORKS), default=NETWORKS, help=",".join(NETWORKS))
    add("--places", type=choose(PLACES), default=PLACES, help=",".join(PLACES))
    add("--memory", default="1g", help="CLIENT_MEMORY of the container")
    add("--cores", default="1", help="CLIENT_CPUS of the container")
    add("--workers", type=int, default=0, help="worker processes of the script's DataLoader")
    add("--epochs", type=int, default=2, help="epochs of each training")
    add("--repeats", type=int, default=3, help="pairs of trainings")
    return parser.parse_args()


if __name__ == "__main__":
    run_program(main)
