"""The text of `runs compare`: runs side by side, each under a letter."""

import math
from collections.abc import Iterator, Mapping, Sequence
from string import ascii_uppercase
from typing import Any

from fedmx.log import printable
from server.record.summary import RunSummary
from server.run_commands import settings_shown, text
from server.run_commands.listing import show_rounds

Document = Mapping[str, Any]

MOST_RUNS = len(ascii_uppercase)
"""How many runs can be compared: as many as there are letters."""

_HEADER = ("", "ID", "NAME", "STATUS", "ROUNDS", "DURATION")
_LONGEST_NAME = 20
# Before a curve: the letter; after it: its last value.
_CURVE_WIDTH = text.WIDTH - 20


def compare_lines(runs: Sequence[RunSummary], documents: Sequence[Document]) -> Iterator[str]:
    """Yield the lines that compare runs.

    Args:
        runs: their summaries.
        documents: the same runs' documents.
    """
    letters = ascii_uppercase[: len(runs)]
    yield from _list_runs(letters, runs)
    differing = settings_shown.list_differing([_list_facts(document) for document in documents])
    for title, lines in (
        ("settings that differ", _list_values(letters, differing)),
        ("metrics after the last round", _list_values(letters, _find_metrics(documents, is_best=False))),
        ("metrics in the best round", _list_values(letters, _find_metrics(documents, is_best=True))),
        ("curves", _list_curves(letters, documents)),
    ):
        yield ""
        yield title
        yield from (f"  {line}" for line in [*lines] or ["none"])


def _list_runs(letters: str, runs: Sequence[RunSummary]) -> Iterator[str]:
    rows = [
        (
            letter,
            printable(run.run_id),
            text.shorten(run.name, _LONGEST_NAME),
            printable(run.status),
            show_rounds(run.rounds, run.num_rounds),
            text.show_duration(run.seconds),
        )
        for letter, run in zip(letters, runs, strict=True)
    ]
    return text.make_table(_HEADER, rows)


def _list_facts(document: Document) -> dict[str, Any]:
    """Return the settings of a run, and the other facts that its metrics depend on."""
    facts = {"task": document["task"] or "-", "nodes": len(document["nodes"])}
    return facts | (document["settings"] or {})


def _find_metrics(documents: Sequence[Document], *, is_best: bool) -> dict[str, list[str]]:
    """Return the metrics of each run's evaluation in one of its rounds, and the number of that round."""
    numbers = [_find_round(document, is_best=is_best) for document in documents]
    if not any(numbers):
        return {}
    found = {"round": [text.show_number(number) for number in numbers]}
    for metric in _list_metrics(documents, "evaluate"):
        found[metric] = [
            text.show_number(_find_value(document, metric, number))
            for document, number in zip(documents, numbers, strict=True)
        ]
    return found


def _find_round(document: Document, *, is_best: bool) -> int | None:
    if is_best:
        return document["best"]["round"] if document["best"] else None
    return document["rounds"] or None


def _find_value(document: Document, metric: str, number: int | None) -> float | None:
    rounds = document["curves"]["rounds"]
    curve = document["curves"]["evaluate"].get(metric)
    return curve[rounds.index(number)] if curve and number in rounds else None


def _list_metrics(documents: Sequence[Document], step: str) -> list[str]:
    return list(dict.fromkeys(metric for document in documents for metric in document["curves"][step]))


def _list_values(letters: str, values: Mapping[str, Sequence[str]]) -> list[str]:
    """Return a table with a column for each run, or a line for each value if that is too wide."""
    if not values:
        return []
    rows = [(printable(name), *map(printable, each)) for name, each in values.items()]
    table = list(text.make_table(("", *letters), rows))
    if max(map(len, table)) <= text.WIDTH - 2:
        return table
    lines = []
    for name, *each in rows:
        lines += [name, *(f"  {letter}  {value}" for letter, value in zip(letters, each, strict=True))]
    return lines


def _list_curves(letters: str, documents: Sequence[Document]) -> Iterator[str]:
    """Yield the curves of each metric, drawn from its smallest to its largest value in all runs."""
    longest = max(len(document["curves"]["rounds"]) for document in documents)
    # A round has the same width in each run.
    scale = min(1.0, _CURVE_WIDTH / max(longest, 1))
    for step in ("evaluate", "train"):
        for metric in _list_metrics(documents, step):
            curves = [document["curves"][step].get(metric, ()) for document in documents]
            low, high = text.find_range(curves)
            yield f"{step} {printable(metric)}, {text.show_number(low)} to {text.show_number(high)}"
            for letter, curve in zip(letters, curves, strict=True):
                drawn = text.draw(curve, math.ceil(len(curve) * scale), low, high)
                yield f"  {letter}  {drawn}  {text.show_number(text.find_last(curve))}"
