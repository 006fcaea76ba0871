"""Line plots as SVG, without a library: axes, one line a series, a legend.

Text has the colour of its surroundings where a page embeds the file, and a grey that reads on both
a white and a black ground where it links to it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from html import escape
from typing import TYPE_CHECKING

from edgeq.errors import printable

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

Points = list[tuple[float, float]]

COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#8a6d3b")
"""Told apart by people who see fewer colours, too (Okabe and Ito)."""
_GREY = "#808080"
_WIDTH, _HEIGHT = 460, 300  # of one panel, with its margins
_LEFT, _RIGHT, _TOP, _BOTTOM = 62, 14, 34, 48
_LINE = 16  # of the legend
_DASHES = ("", "6 3", "2 3")
_LABELS = 12  # below a panel; more numbers overlap


@dataclass(frozen=True, slots=True)
class Panel:
    """One pair of axes.

    Attributes:
        title: above it.
        x: the name of the horizontal axis.
        y: that of the vertical one.
        series: name to its points, in the order in which they are joined. The same name has the
            same colour in all panels, and lines are dashed where colours come again.
        log: whether the vertical axis is logarithmic; points at 0 or below are left out.
        labels: what stands below the horizontal axis, by place. By default the points' numbers, and
            round ones where those would overlap.
        reference: a dashed line at some height, with its name.
    """

    title: str
    x: str
    y: str
    series: Mapping[str, Points]
    log: bool = False
    labels: Mapping[float, str] = field(default_factory=dict)
    reference: tuple[float, str] | None = None


def write_plot(path: Path, panels: Sequence[Panel], columns: int = 2) -> None:
    """Write panels side by side, with one legend below them."""
    names = list(dict.fromkeys(name for panel in panels for name in panel.series))
    looks = {name: _look(number) for number, name in enumerate(names)}
    columns = min(columns, len(panels))
    rows = math.ceil(len(panels) / columns)
    width, height = columns * _WIDTH, rows * _HEIGHT
    each_row = max(1, width // 230)
    total = height + _LINE * math.ceil(len(names) / each_row) + 10
    lines = [
        (
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {total}" '
            f'font-family="sans-serif" font-size="12" fill="{_GREY}">'
        )
    ]
    for number, panel in enumerate(panels):
        row, column = divmod(number, columns)
        lines.append(f'<g transform="translate({column * _WIDTH},{row * _HEIGHT})">')
        lines += _panel(panel, looks)
        lines.append("</g>")
    for number, (name, (_, line)) in enumerate(looks.items()):
        row, column = divmod(number, each_row)
        x, y = _LEFT + 230 * column, height + _LINE * (row + 1) - 4
        lines.append(f'<path d="M{x - 26},{y - 4}h20" {line} stroke-width="2.5"/>')
        lines.append(f'<text x="{x}" y="{y}">{_text(name)}</text>')
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join([*lines, "</svg>", ""]), encoding="utf-8")


def _look(number: int) -> tuple[str, str]:
    """The colour of a series, and its line as attributes."""
    again, place = divmod(number, len(COLOURS))
    dashes = _DASHES[again % len(_DASHES)]
    line = f'stroke="{COLOURS[place]}"' + (f' stroke-dasharray="{dashes}"' if dashes else "")
    return COLOURS[place], line


def _panel(panel: Panel, looks: Mapping[str, tuple[str, str]]) -> Iterator[str]:
    shown = {
        name: [(x, y) for x, y in points if math.isfinite(y) and (y > 0 or not panel.log)]
        for name, points in panel.series.items()
    }
    xs = [x for points in shown.values() for x, _ in points]
    ys = [y for points in shown.values() for _, y in points]
    if panel.reference is not None:
        ys.append(panel.reference[0])
    if not xs:
        return
    left, right = min(xs), max(xs)
    levels = _decades(ys) if panel.log else _rounds(min(ys), max(ys))
    low, high = levels[0], levels[-1]

    def across(x: float) -> float:
        share = (x - left) / (right - left) if right > left else 0.5
        return _LEFT + share * (_WIDTH - _LEFT - _RIGHT)

    def up(y: float) -> float:
        share = (
            (math.log(y) - math.log(low)) / (math.log(high) - math.log(low))
            if panel.log
            else (y - low) / (high - low)
        )
        return _HEIGHT - _BOTTOM - share * (_HEIGHT - _TOP - _BOTTOM)

    yield f'<text x="{_WIDTH / 2}" y="18" text-anchor="middle">{_text(panel.title)}</text>'
    for level in levels:
        y = up(level)
        yield (
            f'<path d="M{_LEFT},{y:.1f}H{_WIDTH - _RIGHT}" stroke="{_GREY}" stroke-opacity=".3"/>'
            f'<text x="{_LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">{level:.4g}</text>'
        )
    bottom = _HEIGHT - _BOTTOM
    for tick, label in (panel.labels or _numbers(sorted(set(xs)))).items():
        yield (
            f'<text x="{across(tick):.1f}" y="{bottom + 16}" text-anchor="middle">'
            f"{_text(label)}</text>"
        )
    yield (
        f'<text x="{_WIDTH / 2}" y="{bottom + 34}" text-anchor="middle">{_text(panel.x)}</text>'
        f'<text transform="translate(14,{_HEIGHT / 2}) rotate(-90)" text-anchor="middle">'
        f"{_text(panel.y)}</text>"
    )
    if panel.reference is not None:
        level, name = panel.reference
        yield (
            f'<path d="M{_LEFT},{up(level):.1f}H{_WIDTH - _RIGHT}" stroke="{_GREY}" '
            f'stroke-dasharray="5 4"/><text x="{_WIDTH - _RIGHT}" y="{up(level) - 5:.1f}" '
            f'text-anchor="end">{_text(name)}</text>'
        )
    for name, points in shown.items():
        where = " ".join(f"{across(x):.1f},{up(y):.1f}" for x, y in points)
        colour, line = looks[name]
        yield f'<polyline points="{where}" fill="none" {line} stroke-width="2"/>'
        for x, y in points:
            yield f'<circle cx="{across(x):.1f}" cy="{up(y):.1f}" r="2.5" fill="{colour}"/>'


def _numbers(xs: Sequence[float]) -> dict[float, str]:
    """What stands below the horizontal axis: the points' own numbers where there is room."""
    inside = [x for x in _rounds(xs[0], xs[-1]) if xs[0] <= x <= xs[-1]]
    return {x: f"{x:g}" for x in (xs if len(xs) <= _LABELS else inside)}


def _rounds(low: float, high: float) -> list[float]:
    """Round numbers from below the least to above the greatest."""
    span = (high - low) or abs(high) or 1.0
    step = 10 ** math.floor(math.log10(span / 4))
    step *= next((factor for factor in (1, 2, 5) if span / (factor * step) <= 6), 10)
    first, last = math.floor(low / step), math.ceil(high / step)
    return [step * number for number in range(first, max(last, first + 1) + 1)]


def _decades(values: Sequence[float]) -> list[float]:
    first = math.floor(math.log10(min(values)))
    last = max(math.ceil(math.log10(max(values))), first + 1)
    return [10.0**power for power in range(first, last + 1)]


def _text(words: str) -> str:
    return escape(printable(words))
