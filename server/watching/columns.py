"""Tables with a fixed width and number of lines. Those of rich may wrap."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from rich.cells import cell_len, set_cell_size
from rich.text import Text

_GAP = "  "
_SHORTEST = 8


@dataclass(frozen=True)
class Column:
    """A column.

    Attributes:
        cells: one for each row.
        rank: if columns do not fit, those with the highest rank are left out first.
        is_text: whether it is left-aligned, and shortened if it is too wide.
        styles: one for each row; empty: none.
    """

    heading: str
    cells: Sequence[str]
    rank: int = 0
    is_text: bool = False
    styles: Sequence[str] = ()

    @property
    def width(self) -> int:
        """The width that it needs."""
        return max(cell_len(text) for text in (self.heading, *self.cells))

    def cell(self, row: int) -> tuple[str, str]:
        """Return the text and the style of a row."""
        return self.cells[row], self.styles[row] if self.styles else ""


def make_lines(columns: Sequence[Column], width: int) -> list[Text]:
    """Return the heading and one line for each row."""
    widths = _fit(columns, width)
    shown = [(columns[at], widths[at]) for at in sorted(widths)]
    heading = _make_line((column.heading, "bold", column, room) for column, room in shown)
    rows = range(len(columns[0].cells))
    return [
        heading,
        *(_make_line((*column.cell(row), column, room) for column, room in shown) for row in rows),
    ]


def _fit(columns: Sequence[Column], width: int) -> dict[int, int]:
    """Return the widths of the columns that fit, by their positions."""
    left = sorted(range(len(columns)), key=lambda at: columns[at].rank)
    while True:
        widths = {at: columns[at].width for at in left}
        excess = sum(widths.values()) + len(_GAP) * (len(left) - 1) - width
        for at in left:
            if columns[at].is_text and excess > 0:
                narrower = max(min(_SHORTEST, widths[at]), widths[at] - excess)
                excess -= widths[at] - narrower
                widths[at] = narrower
        if excess <= 0 or len(left) == 1:
            return widths
        left.pop()


def _make_line(cells: Iterable[tuple[str, str, Column, int]]) -> Text:
    line = Text()
    for text, style, column, width in cells:
        if line:
            line.append(_GAP)
        line.append(_fill(text, width, is_text=column.is_text), style)
    return line


def _fill(text: str, width: int, *, is_text: bool) -> str:
    length = cell_len(text)
    if length > width:
        return set_cell_size(text, max(0, width - 1)) + "~"
    room = " " * (width - length)
    return text + room if is_text else room + text
