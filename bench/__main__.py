"""`python -m bench`: measures the selected parts, prints tables and writes JSON. `--help` lists the parts."""

import argparse
from collections.abc import Callable
from contextlib import ExitStack

from bench import big, floor, scale, tax
from bench.engines import deprecated, direct_link, superlink
from bench.engines.pair import Play, Program, measure_in_turn
from bench.machine import describe_machine
from bench.options import choose
from bench.outcome import Job, Outcome
from bench.processes import MeasurementError
from bench.report import Report
from bench.wan import measure as wan
from fedmx.program import ArgumentParser, run_program

# Engines whose rounds are played in turn.
PROGRAMS: dict[str, Callable[[], Program]] = {
    "link": direct_link.plain,
    "tls": direct_link.tls,
    "deprecated": deprecated.programs,
}
SUPERLINKS: dict[str, Callable[[Job], Outcome]] = {
    "superlink": superlink.measure,
    "superlink-fast": superlink.measure_with_shortest_poll,
}
PARTS = ("floor", *PROGRAMS, *SUPERLINKS, "memory", "tax", "scale", "wan", "big")
SIZES = ("small", "large")
ROUNDS = {"small": 200, "large": 7}
# The engines take turns after so many rounds; 0: each plays all of its rounds at once.
BLOCKS = {"small": 20, "large": 0}
FLOOR_ROUNDS = {"small": 200, "large": 15}
# A round on SuperLink takes 9 s or more.
SUPERLINK_ROUNDS = 2


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
        report.floors.append(floor.measure(size, options.rounds or FLOOR_ROUNDS[size]))
    chosen = [engine for engine in PROGRAMS if engine in options.only]
    groups = [chosen] if BLOCKS[size] else [[engine] for engine in chosen]
    for group in filter(None, groups):
        _announce(f"{', '.join(group)}, {size} model")
        with ExitStack() as stack:
            jobs = [_make_job(engine, size, options) for engine in group]
            plays = [stack.enter_context(Play(job, PROGRAMS[job.engine]())) for job in jobs]
            report.outcomes.extend(measure_in_turn(plays))
    for engine in filter(options.only.__contains__, SUPERLINKS):
        _announce(f"{engine}, {size} model")
        job = Job(engine, size, min(options.rounds or SUPERLINK_ROUNDS, SUPERLINK_ROUNDS), options.limit)
        report.outcomes.append(SUPERLINKS[engine](job))


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
    if "scale" in options.only:
        _announce("2 to 500 nodes")
        report.scale.extend(scale.measure())
    if "wan" in options.only:
        _announce("a long line")
        report.wan.extend(wan.measure())
    if "big" in options.only:
        _announce("2 GB")
        report.big = big.measure()


def _make_job(engine: str, size: str, options: argparse.Namespace) -> Job:
    return Job(engine, size, options.rounds or ROUNDS[size], options.limit, block=BLOCKS[size])


def _parse_options() -> argparse.Namespace:
    parser = ArgumentParser(prog="python -m bench", description="Measure what a round costs.")
    parser.add_argument("--only", type=choose(PARTS), default=PARTS, help=f"parts: {','.join(PARTS)}")
    parser.add_argument("--sizes", type=choose(SIZES), default=SIZES, help=f"sizes: {','.join(SIZES)}")
    parser.add_argument(
        "--rounds",
        type=int,
        default=0,
        help=f"rounds after the first; at most {SUPERLINK_ROUNDS} on SuperLink",
    )
    parser.add_argument(
        "--limit", type=float, default=180.0, help="seconds after which an engine is stopped, per block"
    )
    return parser.parse_args()


def _announce(what: str) -> None:
    print(f"measuring: {what}", flush=True)


if __name__ == "__main__":
    run_program(main)
