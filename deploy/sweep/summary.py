"""What the cells of a sweep come to: a row a configuration, and the best of them."""

from __future__ import annotations

import math
import statistics
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from edgeq.numerics.student import student_quantile
from edgeq.tabular import csv_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from edgeq.deploy.sweep.plan import Sweep
    from edgeq.deploy.sweep.store import CellRecord


@dataclass(frozen=True, slots=True)
class Figure:
    """A figure of a configuration over its repeats.

    Attributes:
        mean: of the repeats.
        half_width: half of Student's 95 % interval of the mean; infinite for one repeat.
        repeats: how many there are.
    """

    mean: float
    half_width: float
    repeats: int


@dataclass(frozen=True, slots=True)
class Row:
    """A configuration.

    Attributes:
        parameters: of it, without the one over which means are taken.
        figures: by name.
        published: source to figures that somebody else published for it.
        best: whether no other is better in one figure of [report] and as good in all others.
        seconds: that its cells took.
    """

    parameters: Mapping[str, Any]
    figures: Mapping[str, Figure]
    published: Mapping[str, Mapping[str, float]]
    best: bool
    seconds: float


def figure_of(values: Sequence[float]) -> Figure:
    """Mean and interval of some repeats, at least one."""
    count = len(values)
    half = (
        student_quantile(0.975, count - 1) * statistics.stdev(values) / math.sqrt(count)
        if count > 1
        else math.inf
    )
    return Figure(statistics.fmean(values), half, count)


def summarize(sweep: Sweep, records: Iterable[CellRecord]) -> tuple[Row, ...]:
    """Rows in the order of the grid; a configuration without a cell has none."""
    groups: dict[tuple[Any, ...], list[CellRecord]] = {}
    names = [name for name in sweep.grid if name != sweep.repeat]
    for record in records:
        groups.setdefault(tuple(record.parameters[name] for name in names), []).append(record)
    rows = []
    for configuration in sweep.configurations():
        cells = groups.get(tuple(configuration.values()))
        if cells:
            order = {value: at for at, value in enumerate(sweep.repeats)}
            cells.sort(key=lambda cell: order[cell.parameters[sweep.repeat]] if sweep.repeat else 0)
            rows.append(_row(sweep, configuration, cells))
    return _with_best(sweep, rows)


def _row(sweep: Sweep, configuration: Mapping[str, Any], cells: Sequence[CellRecord]) -> Row:
    figures = {
        name: figure_of([cell.figures[name] for cell in cells if name in cell.figures])
        for name in dict.fromkeys(name for cell in cells for name in cell.figures)
    }
    published = {
        each.source: each.figures
        for each in sweep.published
        if all(configuration.get(name) == value for name, value in each.where.items())
    }
    return Row(configuration, figures, published, False, sum(cell.seconds for cell in cells))


def _with_best(sweep: Sweep, rows: Sequence[Row]) -> tuple[Row, ...]:
    """Mark the rows that no other row is better than: Pareto's."""
    asked = [*((name, 1) for name in sweep.maximize), *((name, -1) for name in sweep.minimize)]
    points = np.array(
        [[_signed(row.figures.get(name), way) for name, way in asked] for row in rows]
    )
    found = []
    for row, point in zip(rows, points, strict=True):
        beaten = ((points >= point).all(1) & (points > point).any(1)).any()
        found.append(replace(row, best=bool(asked) and not beaten))
    return tuple(found)


def _signed(figure: Figure | None, way: int) -> float:
    """The more the better; least of all where there is none."""
    return -math.inf if figure is None else way * figure.mean


def columns_of(rows: Sequence[Row]) -> tuple[str, ...]:
    """The names of all figures, in the order in which cells gave them."""
    return tuple(dict.fromkeys(name for row in rows for name in row.figures))


def in_family(name: str) -> bool:
    """Whether a figure is one of a family, ``rmse/1`` to ``rmse/27``, which a plot shows."""
    return "/" in name


def table_of(
    sweep: Sweep, rows: Sequence[Row]
) -> tuple[tuple[str, ...], list[tuple[str, ...]], tuple[str, ...]]:
    """Headings, cells, and the headings of numbers: ours, and what was published beside them."""
    names = [name for name in sweep.grid if name != sweep.repeat]
    figures = [name for name in columns_of(rows) if not in_family(name)]
    with_published = [
        name
        for name in figures
        if any(name in told for row in rows for told in row.published.values())
    ]
    numbers = (*figures, *(f"{name}, published" for name in with_published), "repeats")
    cells = []
    for row in rows:
        theirs = [
            ", ".join(f"{each[name]:g}" for each in row.published.values() if name in each)
            for name in with_published
        ]
        cells.append(
            (
                *(str(row.parameters[name]) for name in names),
                *(_written(row.figures.get(name)) for name in figures),
                *theirs,
                str(max(each.repeats for each in row.figures.values())),
                "best" if row.best else "",
            )
        )
    return (*names, *numbers, "Pareto"), cells, numbers


def _written(figure: Figure | None) -> str:
    if figure is None:
        return ""
    if math.isinf(figure.half_width):
        return f"{figure.mean:.6g}"
    if figure.half_width == 0:
        return f"{figure.mean:.6g} ± 0"
    places = min(max(1 - math.floor(math.log10(figure.half_width)), 0), 6)
    return f"{figure.mean:.{places}f} ± {figure.half_width:.{places}f}"


def as_csv(sweep: Sweep, rows: Sequence[Row]) -> str:
    """The table as CSV: of each figure the mean, half the 95 % interval, and the repeats."""
    names = [name for name in sweep.grid if name != sweep.repeat]
    figures = columns_of(rows)
    heads = [(name, f"{name}_ci95_half_width", f"{name}_repeats") for name in figures]
    lines: list[list[Any]] = [[*names, *(head for three in heads for head in three), "pareto"]]
    for row in rows:
        values: list[Any] = [row.parameters[name] for name in names]
        for name in figures:
            figure = row.figures.get(name)
            values += (
                ["", "", 0]
                if figure is None
                else [
                    figure.mean,
                    "" if math.isinf(figure.half_width) else figure.half_width,
                    figure.repeats,
                ]
            )
        lines.append([*values, row.best])
    return csv_of(lines)
