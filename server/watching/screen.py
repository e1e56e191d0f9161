"""The whole screen: the content of the run's page, in as many lines as the terminal has."""

import textwrap
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from rich.text import Text

from server.watching.activity import describe_activity
from server.watching.columns import Column, make_lines
from server.watching.figures import draw_curve, show_duration, show_figure, show_seconds
from server.watching.metrics import order
from server.watching.nodes import Nodes
from server.watching.snapshot import FAILED, FINISHED, INTERRUPTED, RUNNING, Round, Snapshot

_STYLES = {RUNNING: "bold cyan", FINISHED: "bold green", FAILED: "bold red", INTERRUPTED: "bold yellow"}
_MOST_ROUNDS = 10
_CURVES_SHOWN = 2
_WIDEST_CURVE = 60
_GAP = "  "
_METRICS_SHOWN = 4
_MOST_ACTIVITY_LINES = 3
_ROUNDS_MEASURED = 10
# Below this width, lines are truncated.
_NARROWEST = 10
# Below this height, there are no curves.
_SMALL = 14
_LEAST_ROWS = 4


@dataclass(frozen=True)
class Frame:
    """The terminal, and what the screen shows besides the run.

    Attributes:
        width: of the terminal, in characters.
        height: in lines.
        is_ascii: whether the terminal can show only ASCII.
        url: the page that shows the same; empty if there is none.
        note: an additional line; empty for none.
    """

    width: int
    height: int
    is_ascii: bool = False
    url: str = ""
    note: str = ""


def compose(snapshot: Snapshot, frame: Frame, now: float | None = None) -> list[Text]:
    """Return the lines of a screen.

    Args:
        snapshot: the run.
        frame: the terminal.
        now: monotonic seconds; by default, the current ones.
    """
    passed_s = (time.monotonic() if now is None else now) - snapshot.read_at
    head = _make_head(snapshot, snapshot.now + timedelta(seconds=passed_s), frame)
    curves = _make_curves(snapshot, frame) if frame.height >= _SMALL else []
    left = frame.height - len(head) - len(curves)
    nodes = Nodes(snapshot)
    rounds_room, nodes_room = _divide(left, min(len(snapshot.rounds), _MOST_ROUNDS), len(nodes))
    lines = [*head, *curves, *_make_rounds(snapshot.rounds, frame.width, rounds_room)]
    if nodes_room:
        lines += [Text(""), *nodes.render(frame.width, nodes_room - 1)]
    for line in lines:
        line.no_wrap = True
        line.truncate(frame.width, overflow="crop" if frame.is_ascii else "ellipsis")
    return lines[: frame.height]


def _divide(left: int, rounds: int, nodes: int) -> tuple[int, int]:
    """Return how many lines the rounds and the nodes get, with their headings."""
    # A blank line and a heading; a blank line, a summary and a heading.
    want_rounds = rounds + 2 if rounds else 0
    want_nodes = nodes + 3 if nodes else 0
    if want_rounds + want_nodes <= left:
        return want_rounds, want_nodes
    if left < 2 * _LEAST_ROWS:
        return min(want_rounds, left), 0 if want_rounds else left
    for_nodes = min(want_nodes, max(left // 2, left - want_rounds))
    return left - for_nodes, for_nodes


def _make_head(snapshot: Snapshot, now: datetime, frame: Frame) -> list[Text]:
    title = Text("run ")
    title.append(snapshot.run_id or "-", "bold")
    if snapshot.name:
        title.append(f"  {snapshot.name}")
    progress = Text()
    progress.append(snapshot.state, _STYLES.get(snapshot.state, "bold"))
    for part in _describe_progress(snapshot, now):
        progress.append(f"  {part}")
    lines = [title, progress]
    if snapshot.has_ended:
        return [*lines, *_wrap(snapshot.reason, frame.width)]
    lines += _wrap(describe_activity(snapshot, now), frame.width)
    if frame.url:
        lines.append(Text(f"page {frame.url}"))
    if frame.note:
        lines.append(Text(frame.note, "bold yellow"))
    return lines


def _describe_progress(snapshot: Snapshot, now: datetime) -> list[str]:
    total = f" of {snapshot.num_rounds}" if snapshot.num_rounds else ""
    parts = [f"round {snapshot.round}{total}"]
    if snapshot.started:
        end = snapshot.finished or now
        parts.append(f"elapsed {show_duration((end - snapshot.started).total_seconds())}")
    if (left_s := _estimate_left(snapshot)) is not None:
        parts.append(f"about {show_duration(left_s)} left")
    if snapshot.epsilon is not None:
        parts.append(f"epsilon {snapshot.epsilon:.3g}")
    return parts


def _estimate_left(snapshot: Snapshot) -> float | None:
    """Return the seconds that the remaining rounds take if they are like the newest ones."""
    known = [row.seconds for row in snapshot.rounds[-_ROUNDS_MEASURED:] if row.seconds is not None]
    left = snapshot.num_rounds - snapshot.round
    if snapshot.state != RUNNING or not known or left <= 0:
        return None
    return left * sum(known) / len(known)


def _wrap(text: str, width: int) -> list[Text]:
    lines = textwrap.wrap(text, max(_NARROWEST, width), max_lines=_MOST_ACTIVITY_LINES, placeholder=" ...")
    return [Text(line) for line in lines]


def _make_curves(snapshot: Snapshot, frame: Frame) -> list[Text]:
    names = [name for name in order(snapshot.curves) if len(snapshot.curves[name]) > 1][:_CURVES_SHOWN]
    if not names:
        return []
    widest = max(map(len, names))
    figures = {name: _describe_newest(snapshot, name) for name in names}
    room = min(_WIDEST_CURVE, frame.width - widest - max(map(len, figures.values())) - 2 * len(_GAP))
    lines = [Text("")]
    for name in names:
        line = Text(f"{name:<{widest}}{_GAP}")
        line.append(draw_curve(snapshot.curves[name], room, is_ascii=frame.is_ascii), "cyan")
        lines.append(line.append(f"{_GAP}{figures[name]}"))
    return lines


def _describe_newest(snapshot: Snapshot, metric: str) -> str:
    """Return the newest value of a metric, and the best one if rounds are compared by it."""
    known = (value for value in reversed(snapshot.curves[metric]) if value is not None)
    newest = show_figure(next(known, None))
    if snapshot.best is None or snapshot.best[1] != metric:
        return newest
    number, _, value = snapshot.best
    return f"{newest}  best {show_figure(value)} in round {number}"


def _make_rounds(rounds: Sequence[Round], width: int, room: int) -> list[Text]:
    """Return a blank line, a heading and the newest rounds, in `room` lines."""
    number = max(0, room - 2)
    rows = rounds[-number:] if number else []
    if not rows:
        return []
    evaluated = order(name for row in rows for name in row.evaluate)[:_METRICS_SHOWN]
    trained = order(name for row in rows for name in row.train)[:1]
    columns = [
        Column("round", [str(row.number) for row in rows]),
        Column("nodes", [str(row.nodes) for row in rows], rank=4),
        *(
            Column(f"train {name}", [show_figure(row.train.get(name)) for row in rows], rank=3)
            for name in trained
        ),
        *(
            Column(name, [show_figure(row.evaluate.get(name)) for row in rows], rank=1 + 3 * at)
            for at, name in enumerate(evaluated)
        ),
        Column("seconds", [show_seconds(row.seconds) for row in rows], rank=2),
    ]
    return [Text(""), *make_lines(columns, width)]
