"""The plots: lines over depth or runs, intervals, and points of two quantities."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from edgeq.deploy.report.charts.axes import CHARACTER, Frame, cut, label
from edgeq.deploy.report.markup import NOTHING, Markup, element, join

if TYPE_CHECKING:
    from collections.abc import Sequence

SERIES = 8
"""Colours that can be told apart; after them marks and dashes change."""
DASHES = (None, "7 4", "2 3", "10 3 2 3")
ROW = 26
WIDE_ENOUGH = 500
"""Below it a chart is a phone's: names that have no room beside their row stand above it."""


@dataclass(frozen=True, slots=True)
class Series:
    """A line or a set of points.

    Attributes:
        name: what it is called.
        points: x and y of each; a y of NaN or infinity is not drawn.
        number: its place among all, which gives colour, dashes and mark.
        hollow: whether its marks are open.
    """

    name: str
    points: Sequence[tuple[float, float]]
    number: int
    hollow: bool = False


@dataclass(frozen=True, slots=True)
class Interval:
    """A value and its interval in a row of its own.

    Attributes:
        name: of the row.
        value: the value.
        low: the lower end.
        high: the upper end.
        state: ``good``, ``look``, ``bad`` or ``none``.
        shown: the value in words.
    """

    name: str
    value: float
    low: float
    high: float
    state: str
    shown: str


def swatch(number: int, name: str, *, line: bool = True, hollow: bool = False) -> Markup:
    """An entry of a legend."""
    drawn = [mark(number, 15, 8, hollow=hollow)]
    if line:
        drawn.insert(0, _path([(0.0, 8.0), (30.0, 8.0)], number))
    return join(
        [
            element("svg", *drawn, viewBox="0 0 30 16", width=30, height=16, aria_hidden="true"),
            f" {name}",
        ]
    )


def lines_chart(
    width: int,
    series: Sequence[Series],
    *,
    x_title: str,
    y_title: str,
    log: bool = False,
    x_names: Sequence[str] | None = None,
    note: tuple[str, float, float] | None = None,
) -> Markup:
    """Lines over a common x.

    Args:
        width: of the chart.
        series: the lines.
        x_title: what x is.
        y_title: what y is, with its unit.
        log: whether y is logarithmic.
        x_names: the name of each whole x from 0, a row each of the table behind; None for numbers.
        note: words at a point, and its x and y.
    """
    wide = width > 500
    frame = Frame(width, 300 if wide else 260, left=58 if wide else 50, top=26 if note else 10)
    points = [point for each in series for point in each.points]
    x_scale = frame.across([x for x, _ in points])
    y_scale = frame.upward([y for _, y in points], log=log)
    ticks = _named_ticks(frame, x_names) if x_names else None
    drawn: list[Markup] = []
    for each in series:
        places = [
            (x_scale.at(x), y_scale.at(y))
            for x, y in each.points
            if math.isfinite(y) and (y > 0 or not log)
        ]
        drawn.append(_path(places, each.number))
        if len(places) <= 80:
            drawn += [mark(each.number, x, y, hollow=each.hollow) for x, y in places]
    if note is not None:
        drawn.append(_note(frame, note[0], x_scale.at(note[1]), y_scale.at(note[2])))
    xs = range(len(x_names)) if x_names else sorted({x for x, _ in points})
    return frame.drawing(
        frame.x_axis(x_scale, x_title, ticks),
        frame.y_axis(y_scale, y_title),
        *drawn,
        _cursor(frame, [x_scale.at(x) for x in xs]),
    )


def _named_ticks(frame: Frame, names: Sequence[str]) -> list[tuple[float, str]]:
    room = frame.width - frame.left - frame.right
    most = max(2, int(room // 110))
    every = max(1, math.ceil(len(names) / most))
    return [(float(n), cut(names[n], room / most)) for n in range(0, len(names), every)]


def _note(frame: Frame, words: str, x: float, y: float) -> Markup:
    """A name at a point, on the side that has more room."""
    left = x > frame.width / 2
    room = (x - frame.left if left else frame.width - frame.right - x) - 10
    return label(
        cut(words, room),
        x + (-9 if left else 9),
        max(y - 12, 12.0),
        anchor="end" if left else "start",
        class_="strong",
    )


def _cursor(frame: Frame, places: Sequence[float]) -> Markup:
    """A line that the page's script moves to the point that is read out."""
    return element(
        "line",
        x1=0,
        x2=0,
        y1=frame.top,
        y2=frame.height - frame.bottom,
        class_="cursor",
        data_at=" ".join(f"{place:.1f}" for place in places),
    )


def intervals_chart(
    width: int, rows: Sequence[Interval], *, x_title: str, names: float = 0.42
) -> Markup:
    """A row for each value, with its interval; names at the left, values at the right.

    Args:
        width: of the chart.
        rows: the values.
        x_title: what they are, with the unit.
        names: the share of the width that names may take.
    """
    longest = max((len(row.name) for row in rows), default=0) * CHARACTER + 10
    values = max((len(row.shown) for row in rows), default=0) * CHARACTER + 26
    above = width < WIDE_ENOUGH and longest > width * names
    height = 2 * ROW - 8 if above else ROW
    frame = Frame(
        width,
        height * len(rows) + 50,
        left=8 if above else min(longest, width * names),
        right=values,
        top=4,
    )
    scale = frame.across([each for row in rows for each in (row.low, row.high, row.value)])
    drawn: list[Markup] = []
    for number, row in enumerate(rows):
        y = frame.top + height * (number + 1) - ROW / 2
        drawn += [
            label(cut(row.name, width - 8.0), frame.left, y - 14)
            if above
            else label(cut(row.name, frame.left - 6), frame.left - 8, y + 4, anchor="end"),
            element(
                "line",
                x1=scale.at(row.low),
                x2=scale.at(row.high),
                y1=y,
                y2=y,
                class_=f"bar {row.state}",
            ),
            _state_mark(row.state, scale.at(row.value), y),
            label(row.shown, width - 4.0, y + 4, anchor="end", class_="strong"),
        ]
    return frame.drawing(frame.x_axis(scale, x_title), *drawn)


def _state_mark(state: str, x: float, y: float) -> Markup:
    if state == "bad":
        return element("path", d=f"M{x - 5:.1f} {y - 5:.1f}l10 10m0 -10l-10 10", class_="cross bad")
    if state == "look":
        return element("path", d=f"M{x:.1f} {y - 6:.1f}l6 11h-12z", class_="fill look")
    if state == "good":
        return element("circle", cx=x, cy=y, r=5, class_="fill good")
    return element("rect", x=x - 4, y=y - 4, width=8, height=8, class_="fill none")


def points_chart(
    width: int,
    series: Sequence[Series],
    *,
    x_title: str,
    y_title: str,
    front: Sequence[tuple[float, float]] = (),
    log: bool = True,
) -> Markup:
    """Points of two quantities, and the line of those that no other beats in both.

    Args:
        width: of the chart.
        series: the points.
        x_title: what x is: less is better.
        y_title: what y is: more is better.
        front: the points of the Pareto front, x ascending.
        log: whether x is logarithmic.
    """
    frame = Frame(width, 320 if width > 500 else 280)
    points = [point for each in series for point in each.points]
    x_scale = frame.across([x for x, _ in points], log=log)
    ys = [y for _, y in points]
    margin = 0.06 * (max(ys) - min(ys)) if ys else 0.0
    y_scale = frame.upward([*ys, *([min(ys) - margin, max(ys) + margin] if ys else [])])
    steps: list[tuple[float, float]] = []
    for x, y in front:
        if steps:
            steps.append((x_scale.at(x), steps[-1][1]))
        steps.append((x_scale.at(x), y_scale.at(y)))
    return frame.drawing(
        frame.x_axis(x_scale, x_title),
        frame.y_axis(y_scale, y_title),
        element("path", d=_moves(steps), class_="front") if len(steps) > 1 else NOTHING,
        *(
            mark(each.number, x_scale.at(x), y_scale.at(y), hollow=each.hollow, size=6.5)
            for each in series
            for x, y in each.points
        ),
    )


def mark(number: int, x: float, y: float, *, hollow: bool = False, size: float = 4.0) -> Markup:
    """The mark of a series: another colour and shape for each."""
    kind = f"s{number % SERIES} {'open' if hollow else 'solid'}"
    shape, r = number % 5, size
    if shape == 0:
        return element("circle", cx=x, cy=y, r=r, class_=kind)
    if shape == 1:
        return element("rect", x=x - r, y=y - r, width=2 * r, height=2 * r, class_=kind)
    corners = {
        2: [(0, -1.3), (1.3, 0), (0, 1.3), (-1.3, 0)],
        3: [(0, -1.25), (1.25, 1), (-1.25, 1)],
        4: [(0, 1.25), (1.25, -1), (-1.25, -1)],
    }[shape]
    return element(
        "path", d=_moves([(x + r * a, y + r * b) for a, b in corners]) + "z", class_=kind
    )


def small_histogram(
    counts: Sequence[tuple[str, int]], title: str, *, middle: bool = True
) -> Markup:
    """Bars in a cell of a table, logarithmic in height; nothing is no bar."""
    most = max((count for _, count in counts), default=0)
    if not most:
        return NOTHING
    bars = []
    for number, (_, count) in enumerate(counts):
        share = 0 if not count else max(0.12, 1 + math.log10(count / most) / 6)
        height = 18 * max(0.0, share)
        bars.append(
            element(
                "rect",
                x=number * 5,
                y=18 - height,
                width=4,
                height=height,
                class_="zero" if middle and number == len(counts) // 2 else "off",
            )
        )
    width = 5 * len(counts)
    return element(
        "svg",
        *bars,
        viewBox=f"0 0 {width} 18",
        width=width,
        height=18,
        class_="small",
        role="img",
        aria_label=title,
    )


def _path(places: Sequence[tuple[float, float]], number: int) -> Markup:
    if len(places) < 2:
        return NOTHING
    return element(
        "path",
        d=_moves(places),
        class_=f"s{number % SERIES} line",
        stroke_dasharray=DASHES[number // 2 % len(DASHES)],
    )


def _moves(places: Sequence[tuple[float, float]]) -> str:
    return "M" + "L".join(f"{x:.1f} {y:.1f}" for x, y in places)
