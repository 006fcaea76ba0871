"""The headline table for a terminal.

One table where it fits, several side by side of the page where it does not.
"""

from __future__ import annotations

import textwrap
from dataclasses import dataclass
from typing import TYPE_CHECKING

from edgeq.deploy.report import values
from edgeq.tabular import counted

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from rich.console import Group
    from rich.table import Table

    from edgeq.deploy.demo.content import ModelRow, Report
    from edgeq.results import Accuracy
    from edgeq.timing import Latency

WIDTH = 140
HEAD_WIDTH = 8
GAP = 2  # spaces between columns


@dataclass(frozen=True, slots=True)
class Column:
    """One column: the lines of its head, and a cell for each model."""

    head: tuple[str, ...]
    cells: tuple[str, ...]

    @property
    def width(self) -> int:
        """Its widest line."""
        return max(len(line) for line in (*self.head, *self.cells))


def render_text(report: Report, *, width: int = WIDTH) -> Group:
    """The headline table for ``rich``'s console.

    Args:
        report: what to show.
        width: characters a line may have. Where the columns need more, they go on in a second table
            under the first, each with the models' names, so that no number is cut off.
    """
    from rich.console import Group
    from rich.text import Text

    names, columns = _names(report), _columns(report)
    tables = [_table(names, part) for part in pack(names, columns, width)]
    return Group(
        *(line for table in tables for line in (table, Text())),
        Text(_footnote(report), style="dim"),
    )


def pack(names: Column, columns: Iterable[Column], width: int) -> list[list[Column]]:
    """Columns in their order, in as many tables of ``width`` characters as they need.

    Each begins with ``names``.
    """
    parts: list[list[Column]] = [[]]
    used = names.width
    for column in columns:
        if parts[-1] and used + GAP + column.width > width:
            parts.append([])
            used = names.width
        parts[-1].append(column)
        used += GAP + column.width
    return parts


def _table(names: Column, columns: Sequence[Column]) -> Table:
    from rich import box
    from rich.table import Table
    from rich.text import Text

    table = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=(0, 1, 0, 0))
    for column in (names, *columns):
        left = column is names
        table.add_column(
            Text("\n".join(column.head)),
            justify="left" if left else "right",
            vertical="bottom",
            no_wrap=True,
        )
    for line in zip(names.cells, *(column.cells for column in columns), strict=True):
        # as Text: square brackets in a name are no markup
        table.add_row(*(Text(cell) for cell in line))
    return table


def _names(report: Report) -> Column:
    return Column(("model",), tuple(row.name for row in report.rows))


def _columns(report: Report) -> Iterable[Column]:
    rows = report.rows
    yield Column(("params",), tuple(values.count(row.parameters) for row in rows))
    for target in report.accuracy_targets:
        yield Column(
            _head("acc %", target), tuple(_accuracy(row.accuracy.get(target)) for row in rows)
        )
    yield Column(("MSE", "4A→32A"), tuple(values.general(row.activation_mse) for row in rows))
    yield Column(("drift", "SQNR dB"), tuple(values.decibels(row.sqnr_db) for row in rows))
    for target in report.latency_targets:
        yield Column(
            _head("p50 ms", target), tuple(_latency(row.latency.get(target)) for row in rows)
        )
    for name in report.formats:
        yield Column(
            _head("kB", name), tuple(values.kilobytes(row.size_bytes.get(name)) for row in rows)
        )


def _head(what: str, name: str) -> tuple[str, ...]:
    return (what, *textwrap.wrap(name, HEAD_WIDTH))


def _accuracy(accuracy: Accuracy | None) -> str:
    return values.percent(values.share(accuracy))


def _latency(latency: Latency | None) -> str:
    if latency is None:
        return values.MISSING
    return values.milliseconds(latency.p50_ms) + ("" if latency.trustworthy else " ?")


def _footnote(report: Report) -> str:
    widest = max((_half_width(row) for row in report.rows), default=0.0)
    notes = [f"{report.data}, {counted(report.samples, 'sample')}"]
    if widest:
        notes.append(f"95 % intervals of accuracy reach at most ±{100 * widest:.2f} points")
    if any(not latency.trustworthy for row in report.rows for latency in row.latency.values()):
        notes.append("? too noisy to trust")
    return "; ".join(notes) + "."


def _half_width(row: ModelRow) -> float:
    return max(
        (max(a.high - a.fraction, a.fraction - a.low) for a in row.accuracy.values() if a.total),
        default=0.0,
    )
