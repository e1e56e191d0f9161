"""`python -m bench`: measures the selected parts, prints tables and writes JSON. `--help` lists the parts."""

import argparse
from collections.abc import Callable

from bench import floor, tax
from bench.engines import deprecated, direct_link, superlink
from bench.flower_app.null_app.model import SHAPES
from bench.machine import describe_machine
from bench.options import choose
from bench.outcome import Job, Outcome
from bench.processes import MeasurementError
from bench.report import Report
from fedmx.program import ArgumentParser, run_program

ENGINES: dict[str, Callable[[Job], Outcome]] = {
    "link": direct_link.measure,
    "tls": direct_link.measure_tls,
    "deprecated": deprecated.measure,
    "superlink": superlink.measure,
}
PARTS = ("floor", *ENGINES, "memory", "tax")
ROUNDS = {"small": 30, "large": 7}
# A round on SuperLink takes 12 s or more.
SUPERLINK_ROUNDS = 3


def main() -> None:
    """Measure the selected parts; if interrupted, show and write the parts that are done."""
    options = _parse_options()
    report = Report(describe_machine())
    try:
        for size in options.sizes:
            _measure_rounds(size, options, report)
        _measure_rest(options, report)
    finally:
        report.show()
        print(f"wrote {report.write()}")


def _measure_rounds(size: str, options: argparse.Namespace, report: Report) -> None:
    if "floor" in options.only:
        _announce(f"floor, {size} model")
        report.floors.append(floor.measure(size, options.rounds or ROUNDS[size]))
    for engine in filter(options.only.__contains__, ENGINES):
        job = _make_job(engine, size, options)
        _announce(f"{engine}, {size} model, {job.rounds} rounds after the first")
        report.outcomes.append(ENGINES[engine](job))


def _measure_rest(options: argparse.Namespace, report: Report) -> None:
    if "memory" in options.only:
        _announce("the link's memory by step, large model")
        report.memory = direct_link.measure_steps("large")
    if "tax" in options.only:
        _announce(f"federation tax, MNIST, {tax.REPEATS} times")
        try:
            report.tax = tax.measure()
        except MeasurementError as error:
            report.problems.append(f"federation tax: {error}")


def _make_job(engine: str, size: str, options: argparse.Namespace) -> Job:
    rounds = options.rounds or ROUNDS[size]
    if engine == "superlink":
        rounds = min(rounds, SUPERLINK_ROUNDS)
    return Job(engine, size, rounds, options.limit)


def _parse_options() -> argparse.Namespace:
    parser = ArgumentParser(prog="python -m bench", description="Measure rounds on three engines.")
    parser.add_argument("--only", type=choose(PARTS), default=PARTS, help=f"parts: {','.join(PARTS)}")
    parser.add_argument(
        "--sizes", type=choose(tuple(SHAPES)), default=tuple(SHAPES), help="sizes: small,large"
    )
    parser.add_argument(
        "--rounds", type=int, default=0, help="rounds after the first; at most 3 on SuperLink"
    )
    parser.add_argument(
        "--limit", type=float, default=180.0, help="seconds after which an engine is stopped, per size"
    )
    return parser.parse_args()


def _announce(what: str) -> None:
    print(f"measuring: {what}", flush=True)


if __name__ == "__main__":
    run_program(main)
