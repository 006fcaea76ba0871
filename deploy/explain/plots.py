"""Plots as SVG, which need no script: they lie in the page and follow its light or dark scheme."""

from __future__ import annotations

import html
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from edgeq.deploy.report.values import general

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from edgeq.calibration.inspection.profiles import Distribution, Ranges

WIDTH, HEIGHT = 720, 230
_LEFT, _RIGHT, _TOP, _BOTTOM = 70, 10, 26, 34
MOST_CHANNELS = 96
"""Channels that a plot of ranges draws, evenly spread."""
_TICKS = 5
SERIES = ("#0072b2", "#d55e00", "#009e73", "#c2578f", "#7b61c9", "#b07d00")
"""Colours of Okabe and Ito's set, or darker, that stand out on a white and on a dark page."""
_OWN = {"in the file": 0, "folded": 1, "after methods": 2, "activations": 3, "stored": 4}
"""Things that have the same colour in each plot."""


@dataclass(frozen=True, slots=True)
class _Axes:
    """Where the numbers of a plot lie in it.

    Attributes:
        across: the least and greatest number from left to right.
        up: likewise from bottom to top.
    """

    across: tuple[float, float]
    up: tuple[float, float]

    def x(self, value: float) -> float:
        low, high = self.across
        return _LEFT + (value - low) / ((high - low) or 1) * (WIDTH - _LEFT - _RIGHT)

    def y(self, value: float) -> float:
        low, high = self.up
        return HEIGHT - _BOTTOM - (value - low) / ((high - low) or 1) * (HEIGHT - _TOP - _BOTTOM)


def lines(series: Mapping[str, Sequence[float]], x_title: str, y_title: str, alt: str) -> str:
    """A line with marks for each series over the number of the layer, from 1.

    Args:
        series: name to a value for each layer; what is not finite is left out.
        x_title: below.
        y_title: at the left.
        alt: the finding in words.
    """
    known = [value for each in series.values() for value in each if math.isfinite(value)]
    top = max(known, default=1.0)
    count = max(map(len, series.values()), default=1)
    axes = _Axes((0.5, count + 0.5), (min(0.0, *known, 0.0), top or 1.0))
    drawn: list[str] = []
    for colour, values in zip(_colours(series), series.values(), strict=True):
        points = [
            (axes.x(number), axes.y(value))
            for number, value in enumerate(values, start=1)
            if math.isfinite(value)
        ]
        path = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
        drawn.append(f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2"/>')
        drawn += [f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3" fill="{colour}"/>' for x, y in points]
    return _plot(axes, drawn, list(series), x_title, y_title, alt)


def ranges(stages: Mapping[str, Ranges], y_title: str, alt: str) -> str:
    """A bar for each channel from its least to its greatest value, stage beside stage."""
    count = max(len(each.low) for each in stages.values())
    shown = np.linspace(0, count - 1, min(count, MOST_CHANNELS)).astype(int)
    low = min(float(each.low.min()) for each in stages.values())
    high = max(float(each.high.max()) for each in stages.values())
    axes = _Axes((-0.5, len(shown) - 0.5), (min(low, 0.0), max(high, 0.0)))
    width = (axes.x(1) - axes.x(0)) * 0.8 / len(stages)
    drawn = [_level(axes, 0.0)]
    for number, (colour, each) in enumerate(zip(_colours(stages), stages.values(), strict=True)):
        for place, channel in enumerate(shown.tolist()):
            x = axes.x(place) + (number - len(stages) / 2) * width
            top, bottom = axes.y(float(each.high[channel])), axes.y(float(each.low[channel]))
            drawn.append(
                f'<rect x="{x:.1f}" y="{top:.1f}" width="{max(width, 0.6):.1f}" '
                f'height="{max(bottom - top, 0.6):.1f}" fill="{colour}"/>'
            )
    title = "channel" if len(shown) == count else f"{len(shown)} of {count} channels"
    return _plot(axes, drawn, list(stages), title, y_title, alt)


def histogram(found: Distribution, ends: tuple[float, float] | None, title: str, alt: str) -> str:
    """How often values occur, on a logarithmic scale, with the ends of a grid as dashed lines."""
    edges = found.edges
    most = max(int(each.max(initial=1)) for each in found.counts.values())
    low, high = float(edges[0]), float(edges[-1])
    if ends is not None:
        low, high = min(low, ends[0]), max(high, ends[1])
    axes = _Axes((low, high), (0.0, math.log10(most + 1)))
    drawn: list[str] = []
    for colour, counts in zip(_colours(found.counts), found.counts.values(), strict=True):
        steps = " ".join(
            f"{axes.x(float(edge)):.1f},{axes.y(math.log10(int(count) + 1)):.1f} "
            f"{axes.x(float(after)):.1f},{axes.y(math.log10(int(count) + 1)):.1f}"
            for edge, after, count in zip(edges[:-1], edges[1:], counts, strict=True)
        )
        drawn.append(
            f'<polyline points="{steps}" fill="none" stroke="{colour}" stroke-width="1.5"/>'
        )
    for end in ends or ():
        x = axes.x(end)
        drawn.append(
            f'<line x1="{x:.1f}" x2="{x:.1f}" y1="{_TOP}" y2="{HEIGHT - _BOTTOM}" '
            'stroke="currentColor" stroke-dasharray="4 3"/>'
        )
    return _plot(axes, drawn, list(found.counts), title, "values, log scale", alt, upright=False)


def _plot(
    axes: _Axes,
    drawn: Sequence[str],
    names: Sequence[str],
    x_title: str,
    y_title: str,
    alt: str,
    *,
    upright: bool = True,
) -> str:
    opening = (
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{html.escape(alt)}" '
        'font-size="11" fill="currentColor">'
    )
    frame = _frame(axes, x_title, y_title, upright=upright)
    return "".join([opening, *frame, *drawn, *_legend(names), "</svg>"])


def _frame(axes: _Axes, x_title: str, y_title: str, *, upright: bool) -> Iterator[str]:
    bottom = HEIGHT - _BOTTOM
    yield (
        f'<path d="M{_LEFT} {_TOP}V{bottom}H{WIDTH - _RIGHT}" fill="none" '
        'stroke="currentColor" opacity="0.5"/>'
    )
    if upright:
        for value in np.linspace(*axes.up, _TICKS).tolist():
            yield (
                f'<text x="{_LEFT - 5}" y="{axes.y(value) + 4:.1f}" text-anchor="end">'
                f"{general(value)}</text>"
            )
    low, high = axes.across
    whole = low % 1 == high % 1 == 0.5  # numbers of layers or channels
    ticks = np.linspace(math.ceil(low), math.floor(high), _TICKS) if whole else ()
    for value in (
        np.linspace(low, high, _TICKS).tolist() if not whole else np.unique(np.rint(ticks))
    ):
        yield (
            f'<text x="{axes.x(value):.1f}" y="{bottom + 13}" text-anchor="middle">'
            f"{int(value) if whole else general(value)}</text>"
        )
    across, middle = f'x="{WIDTH / 2}" y="{HEIGHT - 4}"', HEIGHT / 2
    yield f'<text {across} text-anchor="middle">{html.escape(x_title)}</text>'
    turned = f'x="12" y="{middle}" transform="rotate(-90 12 {middle})"'
    yield f'<text {turned} text-anchor="middle">{html.escape(y_title)}</text>'


def _colours(names: Iterable[str]) -> list[str]:
    return [SERIES[_OWN.get(name, number)] for number, name in enumerate(names)]


def _legend(names: Sequence[str]) -> Iterator[str]:
    for number, (colour, name) in enumerate(zip(_colours(names), names, strict=True)):
        x = _LEFT + 150 * number
        yield f'<rect x="{x}" y="6" width="10" height="10" fill="{colour}"/>'
        yield f'<text x="{x + 15}" y="15">{html.escape(name)}</text>'


def _level(axes: _Axes, value: float) -> str:
    y = axes.y(value)
    return (
        f'<line x1="{_LEFT}" x2="{WIDTH - _RIGHT}" y1="{y:.1f}" y2="{y:.1f}" '
        'stroke="currentColor" opacity="0.4"/>'
    )
