"""The axes and lines of the plots that a sweep file asks for."""

from __future__ import annotations

from typing import TYPE_CHECKING

from edgeq.deploy.sweep.plot import Panel

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from edgeq.deploy.sweep.asked import Plot
    from edgeq.deploy.sweep.plot import Points
    from edgeq.deploy.sweep.summary import Row


def panels_of(plot: Plot, rows: Sequence[Row]) -> list[Panel]:
    """A plot's axes, those of published figures among its lines."""
    found: dict[str, dict[str, Points]] = {}
    for row in rows:
        title = f"{plot.title}: {row.parameters[plot.panel]}" if plot.panel else plot.title
        series = found.setdefault(title, {})
        name = ", ".join(str(row.parameters[each]) for each in plot.lines) or plot.y
        means = {figure: told.mean for figure, told in row.figures.items()}
        for label, figures in (
            (name, means),
            *((f"{name}, {source}", told) for source, told in row.published.items()),
        ):
            points = _points(plot, row, figures)
            if points:
                series.setdefault(label, []).extend(points)
    return [
        Panel(
            title, plot.x, plot.y, {name: sorted(each) for name, each in series.items()}, plot.log
        )
        for title, series in found.items()
        if series
    ]


def _points(plot: Plot, row: Row, figures: Mapping[str, float]) -> Points:
    if plot.x in row.parameters:
        at = row.parameters[plot.x]
        known = isinstance(at, int | float) and plot.y in figures
        return [(float(at), figures[plot.y])] if known else []
    family = f"{plot.y}/"
    return [
        (float(name.removeprefix(family)), value)
        for name, value in figures.items()
        if name.startswith(family) and name.removeprefix(family).isdecimal()
    ]
