"""A plot of figures against numbers of nodes, as SVG: panels side by side, both axes logarithmic.

The background is transparent and every color reads on white as well as on black, because the image of a page
does not know which theme the page has.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from xml.sax.saxutils import escape

Points = Sequence[tuple[float, float]]

_WIDTH, _HEIGHT = 420, 300
_LEFT, _RIGHT, _TOP, _BOTTOM = 62, 20, 58, 44
_COLORS = ("#3f7fd6", "#d9822b", "#2f9e6e", "#b05fc2")
_TEXT, _GRID = "#808890", "#808890"


@dataclass(frozen=True)
class Panel:
    """One diagram.

    Attributes:
        title: above it.
        series: name -> points (nodes, value), all positive.
    """

    title: str
    series: Mapping[str, Points]


@dataclass(frozen=True)
class _Axis:
    """Maps values between two powers of ten to a range of pixels."""

    low: int
    high: int
    start: float
    end: float

    @classmethod
    def around(cls, values: Sequence[float], start: float, end: float) -> "_Axis":
        low = math.floor(math.log10(min(values)))
        high = max(low + 1, math.ceil(math.log10(max(values))))
        return cls(low, high, start, end)

    def place(self, value: float) -> float:
        share = (math.log10(value) - self.low) / (self.high - self.low)
        return round(self.start + share * (self.end - self.start), 1)

    @property
    def ticks(self) -> list[float]:
        return [10.0**power for power in range(self.low, self.high + 1)]


def draw(panels: Sequence[Panel], description: str) -> str:
    """Return an SVG of the panels, side by side."""
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH * len(panels)} {_HEIGHT}"',
        f' role="img" aria-label="{escape(description)}"',
        f' font-family="sans-serif" font-size="12" fill="{_TEXT}">',
    ]
    for number, panel in enumerate(panels):
        parts.append(f'<g transform="translate({_WIDTH * number} 0)">')
        parts.extend(_draw_panel(panel))
        parts.append("</g>")
    return "\n".join([*parts, "</svg>", ""])


def _draw_panel(panel: Panel) -> list[str]:
    points = [point for series in panel.series.values() for point in series]
    across = _Axis.around([x for x, _ in points], _LEFT, _WIDTH - _RIGHT)
    upward = _Axis.around([y for _, y in points], _HEIGHT - _BOTTOM, _TOP)
    middle = (_LEFT + _WIDTH - _RIGHT) / 2
    parts = [
        _text(middle, 18, panel.title, "middle", bold=True),
        _text(middle, _HEIGHT - 8, "nodes", "middle"),
    ]
    for tick in across.ticks:
        x = across.place(tick)
        parts += [
            _line(x, _TOP, x, _HEIGHT - _BOTTOM),
            _text(x, _HEIGHT - _BOTTOM + 16, f"{tick:g}", "middle"),
        ]
    for tick in upward.ticks:
        y = upward.place(tick)
        parts += [_line(_LEFT, y, _WIDTH - _RIGHT, y), _text(_LEFT - 6, y + 4, f"{tick:g}", "end")]
    for number, (name, series) in enumerate(panel.series.items()):
        parts += _draw_series(number, name, [(across.place(x), upward.place(y)) for x, y in series])
    return parts


def _draw_series(number: int, name: str, places: list[tuple[float, float]]) -> list[str]:
    color = _COLORS[number % len(_COLORS)]
    path = " ".join(f"{x},{y}" for x, y in places)
    left = _LEFT + 160 * number
    return [
        f'<polyline points="{path}" fill="none" stroke="{color}" stroke-width="2"/>',
        *(f'<circle cx="{x}" cy="{y}" r="3.5" fill="{color}"/>' for x, y in places),
        f'<circle cx="{left + 4}" cy="38" r="4" fill="{color}"/>',
        _text(left + 14, 42, name, "start"),
    ]


def _line(x: float, y: float, to_x: float, to_y: float) -> str:
    return f'<path d="M{x} {y}L{to_x} {to_y}" stroke="{_GRID}" stroke-opacity="0.35"/>'


def _text(x: float, y: float, text: str, anchor: str, *, bold: bool = False) -> str:
    weight = ' font-weight="bold"' if bold else ""
    return f'<text x="{x:g}" y="{y:g}" text-anchor="{anchor}"{weight}>{escape(text)}</text>'
