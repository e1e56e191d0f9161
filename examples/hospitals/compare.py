"""`python -m examples.hospitals.compare`: compares the federated model with others of the same task.

The same network is trained by the three hospitals together, on all of their rows in one place, and by each
hospital alone, with the same settings and the same number of epochs. All are evaluated on the same rows: a
fifth of each hospital's. Writes the table of docs/first-hour/tables.md. Exits with 1 if the federated model
is more than a point worse than that of all rows, or not better than each hospital's own.
"""

import json
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from examples.hospitals.data import ROWS, SITES, generate, write
from fedmx.settings import environment

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "first-hour" / "tables.md"
SEEDS = (0, 1, 2)
TRAINED = ROWS * 4 // 5
TOGETHER, POOLED = "three hospitals, federated", "all rows in one place"
WORST = 0.01
OPTIONS = {"label": "readmitted", "ignore": ["patient_id"]}
SETTINGS = {
    "TASK": "client.tasks.tabular",
    "TASK_OPTIONS": json.dumps(OPTIONS),
    "NUM_ROUNDS": 20,
    "LOCAL_EPOCHS": 2,
    "BATCH_SIZE": 32,
    "LR_SCHEDULE": "cosine:20",
    "WEIGHT_DECAY": 0.0003,
    "LISTEN_ADDRESS": "127.0.0.1:0",
    "LINK_SECURITY": "insecure",
    "RESUME": "never",
}
Found = Mapping[str, Sequence[float]]
"""What a model was trained on -> its accuracy for each seed."""
_BEGIN, _END = "<!-- table -->\n", "<!-- /table -->"
_HEADER = "| trained on | accuracy | lowest | highest |\n| --- | --- | --- | --- |\n"


def main():
    """Compare, write the table and return the exit code."""
    with tempfile.TemporaryDirectory(prefix="fedmx-hospitals-") as name:
        folder = Path(name)
        write_folders(folder)
        found = {kind: [] for kind in (TOGETHER, POOLED, *SITES)}
        for seed in SEEDS:
            for kind, accuracies in found.items():
                accuracies.append(train(folder, kind, seed))
                print(f"seed {seed}, {kind}: {accuracies[-1]:.4f}", flush=True)
    write_table(found)
    return 0 if holds(found) else 1


def holds(found: Found) -> bool:
    """Whether the federated model is good enough."""
    means = {kind: statistics.mean(accuracies) for kind, accuracies in found.items()}
    together = means[TOGETHER]
    return together >= means[POOLED] - WORST and all(together > means[site] for site in SITES)


def write_folders(folder):
    """Write the training set of each hospital, and of all of them, each with the same test set."""
    rows = {site: generate(site) for site in SITES}
    header = rows["hospital-a"][0]
    test = [row for each in rows.values() for row in each[1 + TRAINED :]]
    train = {site: each[1 : 1 + TRAINED] for site, each in rows.items()}
    pooled = [row for each in train.values() for row in each]
    for name, some in {
        "pooled/all": pooled,
        **{f"sites/{site}": each for site, each in train.items()},
    }.items():
        write(folder / name / "train.csv", [header, *some])
        write(folder / name / "test.csv", [header, *test])


def train(folder, kind, seed):
    """Train a model and return its accuracy on the test set."""
    names = {TOGETHER: "sites/{site}", POOLED: "pooled/{site}"}
    settings = {**SETTINGS, "DATA_DIR": folder / names.get(kind, f"sites/{kind}")}
    settings |= {"SEED": seed, "RUNS_DIR": folder / "runs"}
    # A client alone has no placeholder in its DATA_DIR.
    alone = {} if kind in names else {"CLIENTS": 1, "PARTITION": "none"}
    run("local", [], settings | alone)
    data_dir = folder / "pooled" / "all"
    result = run("client", ["evaluate", "latest", str(data_dir), "--json"], settings | {"DATA_DIR": data_dir})
    return json.loads(result)["metrics"]["accuracy"]


def run(module, arguments, settings):
    """Run a program and return what it prints."""
    done = subprocess.run(
        [sys.executable, "-m", module, *arguments],
        cwd=ROOT,
        env=environment() | {name: str(value) for name, value in settings.items()},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise RuntimeError(f"{module}: exit code {done.returncode}\n{done.stdout}{done.stderr}")
    return done.stdout


def write_table(found: Found, page: Path = PAGE) -> None:
    """Replace the table of the page."""
    rows = "".join(
        f"| {kind} | {statistics.mean(each):.3f} | {min(each):.3f} | {max(each):.3f} |\n"
        for kind, each in found.items()
    )
    before, rest = page.read_text().split(_BEGIN)
    page.write_text(f"{before}{_BEGIN}{_HEADER}{rows}{_END}{rest.split(_END)[1]}")


if __name__ == "__main__":
    sys.exit(main())
