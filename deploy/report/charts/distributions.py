"""How far values reach, channel by channel, and how often they occur."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from edgeq.deploy.report.charts.axes import Frame
from edgeq.deploy.report.charts.plots import SERIES
from edgeq.deploy.report.markup import Markup, element

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

WIDEST = 14
"""The widest bar, in units of a chart."""


def ranges_chart(
    width: int,
    stages: Mapping[str, Sequence[tuple[float, float]]],
    numbers: Mapping[str, int],
    *,
    x_title: str,
    y_title: str,
) -> Markup:
    """A bar for each channel from its least to its greatest value, stage beside stage.

    Args:
        width: of the chart.
        stages: name to the least and greatest value of each channel.
        numbers: name to its place among all, which gives the colour.
        x_title: what the bars stand for.
        y_title: what is measured.
    """
    frame = _frame(width)
    most = max(map(len, stages.values()))
    x_scale = frame.across((-0.5, most - 0.5))
    y_scale = frame.upward(
        [0.0, *(end for each in stages.values() for pair in each for end in pair)]
    )
    room = x_scale.at(1) - x_scale.at(0)
    bar = min(0.8 * room / len(stages), WIDEST)
    drawn = []
    for place, (name, channels) in enumerate(stages.items()):
        aside = (place - (len(stages) - 1) / 2) * bar
        moves = "".join(
            f"M{x_scale.at(n) + aside:.1f} {y_scale.at(low):.1f}V{y_scale.at(high) - 0.6:.1f}"
            for n, (low, high) in enumerate(channels)
        )
        colour = f"s{numbers[name] % SERIES} line"
        drawn.append(element("path", d=moves, class_=colour, style=f"stroke-width:{bar:.2f}"))
    ticks = [(float(n), str(n)) for n in range(0, most, math.ceil(most / 8))]
    return frame.drawing(
        frame.x_axis(x_scale, x_title, ticks), frame.y_axis(y_scale, y_title), *drawn
    )


def histogram_chart(
    width: int,
    edges: Sequence[float],
    counts: Mapping[str, Sequence[float]],
    numbers: Mapping[str, int],
    *,
    x_title: str,
    ends: tuple[float, float] | None = None,
) -> Markup:
    """How often values occur, on a logarithmic scale.

    Args:
        width: of the chart.
        edges: of the bins.
        counts: name to the number of values in each bin.
        numbers: name to its place among all, which gives the colour.
        x_title: what the values are.
        ends: of a grid, which are drawn as dashed lines; None for none.
    """
    frame = _frame(width)
    x_scale = frame.across([*edges, *(ends or ())])
    y_scale = frame.upward([0.5, *(n for each in counts.values() for n in each)], log=True)
    base = frame.height - frame.bottom
    drawn = []
    for name, each in counts.items():
        moves, after = "", None
        for left, right, count in zip(edges[:-1], edges[1:], each, strict=True):
            y = y_scale.at(count) if count else base
            moves += (
                f"M{x_scale.at(left):.1f} {base:.1f}V{y:.1f}" if after is None else f"V{y:.1f}"
            ) + f"H{x_scale.at(right):.1f}"
            after = y
        drawn.append(element("path", d=f"{moves}V{base:.1f}", class_=f"s{numbers[name]} line"))
    for end in ends or ():
        x = x_scale.at(end)
        drawn.append(element("path", d=f"M{x:.1f} {frame.top}V{base:.1f}", class_="front"))
    return frame.drawing(
        frame.x_axis(x_scale, x_title),
        frame.y_axis(y_scale, "values, log scale"),
        *drawn,
    )


def _frame(width: int) -> Frame:
    return Frame(width, 240, left=58 if width > 500 else 50)
