"""`python -m fuzz`: fuzzes each target for its share of the time and prints figures; see `--help`."""

import argparse
import importlib
import importlib.util
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

TARGETS = ("frames", "session")
FOUND = Path(__file__).parent / "found"
# Of the process. Its modules need 100 of them.
_MEMORY_MB = 400
_INPUT_TIMEOUT_S = 5
_LONGEST_INPUT = 8192
_FIGURES = ("number_of_executed_units", "average_exec_per_sec", "peak_rss_mb", "slowest_unit_time_sec")


def main() -> int:
    """Fuzz, or run inputs again; return the exit code."""
    options = _parse_options()
    if options.inputs:
        return _run_again(options.target or TARGETS, options.inputs)
    if importlib.util.find_spec("atheris") is None:
        print("atheris is not installed; expected the packages of requirements/dev.txt", file=sys.stderr)
        return 2
    targets = [options.target] if options.target else TARGETS
    results = [_fuzz(target, max(1, round(options.seconds / len(targets)))) for target in targets]
    return max(results)


def _fuzz(target: str, seconds: int) -> int:
    with tempfile.TemporaryDirectory(prefix="fedmx-fuzz-") as folder:
        seeds = Path(folder, "seeds")
        found = Path(folder, "found")
        seeds.mkdir()
        found.mkdir()
        flags = (
            f"-max_total_time={seconds}",
            f"-rss_limit_mb={_MEMORY_MB}",
            f"-timeout={_INPUT_TIMEOUT_S}",
            f"-max_len={_LONGEST_INPUT}",
            f"-artifact_prefix={found}/{target}-",
            "-print_final_stats=1",
        )
        command = [sys.executable, "-m", "fuzz.child", target, str(seeds), *flags]
        done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False)
        inputs = [_save(path) for path in sorted(found.iterdir())]
    output = done.stdout.decode(errors="replace")
    if done.returncode == 0 and not inputs:
        print(f"{target}: {_read_figures(output)}", flush=True)
        return 0
    print(output[-4000:])
    names = ", ".join(map(str, inputs)) or "no input"
    print(
        f"{target}: exit {done.returncode}, saved {names}; run it with: python -m fuzz --target {target} FILE"
    )
    return 1


def _save(path: Path) -> Path:
    FOUND.mkdir(exist_ok=True)
    return Path(shutil.move(path, FOUND / path.name))


def _read_figures(output: str) -> str:
    stats = dict(re.findall(r"^stat::(\w+):\s+(\d+)$", output, re.MULTILINE))
    executed, per_second, peak_mb, slowest_s = (stats.get(name, "?") for name in _FIGURES)
    counters, features, corpus = (re.findall(r"cov: (\d+) ft: (\d+) corp: (\d+)", output) or ["???"])[-1]
    return (
        f"executions={executed} per_second={per_second} counters={counters} features={features}"
        f" corpus={corpus} peak_rss_mb={peak_mb} slowest_s={slowest_s}"
    )


def _run_again(targets: "str | tuple[str, ...]", paths: list[Path]) -> int:
    for target in [targets] if isinstance(targets, str) else targets:
        run = importlib.import_module(f"fuzz.{target}").run
        for path in paths:
            run(path.read_bytes())
            print(f"{target}: {path}: no problem found")
    return 0


def _parse_options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m fuzz", description="Fuzz everything that arrives over the wire."
    )
    parser.add_argument("--seconds", type=float, default=60.0, help="for all targets together (default 60)")
    parser.add_argument("--target", choices=TARGETS, help="fuzz only this target")
    parser.add_argument("inputs", nargs="*", type=Path, help="files to run again, instead of fuzzing")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
