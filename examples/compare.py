"""`python -m examples.compare [KIND...]`: compares each script with its task in a federation of two clients.

Writes the table of docs/reference/examples.md, and a sample of the GAN's images next to it. Exits with 1 if a
task misses its bar: its median of three seeds may be worse than the script's by 10 % or by twice the script's
own spread over the seeds, whichever is larger.
"""

import statistics
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from client.png import encode
from examples.kinds import KINDS, Kind
from examples.lines import count_lines
from examples.runs import ROOT, Numbers, are_bounded, prepare, run_federated, run_plain

SEEDS = (0, 1, 2)
PAGE = ROOT / "docs" / "reference" / "examples.md"
SAMPLE = ROOT / "docs" / "reference" / "dcgan.png"
_BEGIN, _END = "<!-- table -->\n", "<!-- /table -->"
_HEADER = (
    "| kind | metric | script | spread | two clients | worse by | bar | lines |\n"
    "| --- | --- | --- | --- | --- | --- | --- | --- |\n"
)
_SHARE = 0.1


@dataclass(frozen=True)
class Outcome:
    """The results of a script and its task.

    Attributes:
        name: name of the kind.
        plain: numbers of the script, for each seed.
        federated: numbers of the task, for each seed.
    """

    name: str
    plain: list[Numbers]
    federated: list[Numbers]

    @property
    def kind(self) -> Kind:
        """The kind."""
        return KINDS[self.name]

    @property
    def spread(self) -> float:
        """Difference between the script's largest and smallest value."""
        values = self._values(self.plain)
        return max(values) - min(values)

    @property
    def medians(self) -> tuple[float, float]:
        """The script's median and the task's."""
        return statistics.median(self._values(self.plain)), statistics.median(self._values(self.federated))

    @property
    def loss(self) -> float:
        """By how much the task's median is worse than the script's; negative if it is better."""
        plain, federated = self.medians
        return federated - plain if self.kind.is_error else plain - federated

    @property
    def bar(self) -> float:
        """By how much it may be worse."""
        return max(_SHARE * abs(self.medians[0]), 2 * self.spread)

    @property
    def holds(self) -> bool:
        """Whether the task reaches its bar."""
        if not self.kind.metric:
            return all(map(are_bounded, [*self.plain, *self.federated]))
        return self.loss <= self.bar

    def to_row(self) -> str:
        """Format a row of the table."""
        plain, task = count_lines(self.name)
        link = f"[{self.kind.title}](../../examples/{self.name})"
        return f"| {link} | {' | '.join(self._to_cells())} | {plain}, {task} |\n"

    def _to_cells(self) -> list[str]:
        if not self.kind.metric:
            columns = [
                [f"{statistics.median(v[name] for v in some):#.3g}" for name in some[0]]
                for some in (self.plain, self.federated)
            ]
            return ["both losses", " and ".join(columns[0]), "", " and ".join(columns[1]), "", "below 5"]
        plain, federated = self.medians
        numbers = (plain, self.spread, federated, self.loss, self.bar)
        return [self.kind.metric.replace("_", " "), *(f"{number:#.3g}" for number in numbers)]

    def _values(self, some: list[Numbers]) -> list[float]:
        return [numbers[self.kind.metric] for numbers in some]


def compare(name: str, sample: Path = SAMPLE) -> Outcome:
    """Run a script and its task once per seed.

    Args:
        name: name of the kind.
        sample: path of the PNG file for images that the GAN draws.
    """
    prepare(name)
    plain = [run_plain(name, seed) for seed in SEEDS]
    runs = [run_federated(name, seed) for seed in SEEDS]
    if name == "dcgan":
        write_sample(runs[0][1], sample)
    return Outcome(name, plain, [numbers for numbers, _ in runs])


def write_sample(net: Any, path: Path) -> None:
    """Draw 5 x 16 images with a generator, and write them as PNG."""
    from examples.dcgan.plain import draw_noise  # noqa: PLC0415 - the other kinds do not need it

    images = net(draw_noise(80)).asnumpy().reshape(5, 16, 14, 14).transpose(0, 2, 1, 3).reshape(70, 224)
    pixels = ((images + 1) * 127.5).astype(np.uint8).repeat(3, axis=0).repeat(3, axis=1)
    path.write_bytes(encode(pixels[..., None].repeat(3, axis=2)))


def write_table(outcomes: list[Outcome], page: Path = PAGE) -> None:
    """Replace the rows of these kinds in the page; the others stay."""
    text = page.read_text()
    before, rest = text.split(_BEGIN)
    table, after = rest.split(_END)
    rows = {outcome.name: outcome.to_row() for outcome in outcomes}
    for line in table.splitlines(keepends=True):
        name = next((name for name in KINDS if f"(../../examples/{name})" in line), None)
        if name:
            rows.setdefault(name, line)
    ordered = "".join(rows[name] for name in KINDS if name in rows)
    page.write_text(f"{before}{_BEGIN}{_HEADER}{ordered}{_END}{after}")


def main(names: list[str]) -> int:
    """Compare some kinds, or all of them, and return the exit code."""
    unknown = set(names) - KINDS.keys()
    if unknown:
        print(
            f"unknown kinds: {', '.join(sorted(unknown))}; expected some of {', '.join(KINDS)}",
            file=sys.stderr,
        )
        return 2
    outcomes = []
    for name in names or KINDS:
        outcomes.append(compare(name))
        print(
            outcomes[-1].to_row(),
            "" if outcomes[-1].holds else "misses its bar\n",
            sep="",
            end="",
            flush=True,
        )
    write_table(outcomes)
    return int(not all(outcome.holds for outcome in outcomes))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
