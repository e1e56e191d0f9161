"""`python -m tests.federation.chaos`: runs with faults drawn from a seed, compared with undisturbed ones.

Exits with 1 if a run ended otherwise than an undisturbed one; its folder stays, with all logs, and is named.
"""

import argparse
import random
import shutil
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

from tests.federation.chaos.reference import Reference
from tests.federation.chaos.stage import Stage
from tests.federation.chaos.story import Story, draw_plan
from tests.ports import find_free_port


def main() -> int:
    """Play runs until the time is over."""
    parser = argparse.ArgumentParser(prog="chaos", description="Kill, cut and stall federations on loopback.")
    parser.add_argument("--seconds", type=float, default=1200, help="after which no run is begun (1200)")
    parser.add_argument("--seed", type=int, default=1, help="of plans and faults (1)")
    given = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="fedmx-chaos-"))
    rng, total = random.Random(given.seed), Counter[str]()  # noqa: S311 - to be repeated, not to be secret
    reference = Reference(lambda: make_stage(folder / f"undisturbed-{find_free_port()}"))
    began = time.monotonic()
    while time.monotonic() - began < given.seconds:
        total["runs"] += 1
        story = Story(draw_plan(rng), make_stage(folder / f"run-{total['runs']:04}"))
        total.update(play(story, rng, reference))
    print(f"seed={given.seed} seconds={time.monotonic() - began:.0f} {describe(total)}")
    if total["failures"]:
        print(f"logs: {folder}")
        return 1
    shutil.rmtree(folder)
    return 0


def make_stage(folder: Path) -> Stage:
    folder.mkdir()
    return Stage(folder, find_free_port())


def play(story: Story, rng: random.Random, reference: Reference) -> Counter[str]:
    """Play one run, print its line, and give what happened."""
    began = time.monotonic()
    digest = reference.digest(story.plan)
    story.play(random.Random(rng.random()), digest)  # noqa: S311 - so that no run's faults depend on the one before
    happened = story.did + Counter(repeated=story.repeated, failures=int(bool(story.wrong)))
    plan, folder = story.plan, story.stage.folder
    label = f"{folder.name} {plan.strategy} {plan.task} nodes={plan.nodes} rounds={plan.rounds}"
    found = "; ".join(story.wrong) or "the same model"
    print(f"{label} seconds={time.monotonic() - began:.1f} {describe(happened)}: {found}", flush=True)
    if not story.wrong:
        shutil.rmtree(folder)
    return happened


def describe(counts: Counter[str]) -> str:
    """Return counts as text."""
    return ", ".join(f"{count} {name}" for name, count in sorted(counts.items()) if count) or "no fault"


if __name__ == "__main__":
    sys.exit(main())
