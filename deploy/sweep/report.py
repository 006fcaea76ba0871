"""What a sweep came to, as a Markdown page with its plots beside it."""

from __future__ import annotations

import statistics
from typing import TYPE_CHECKING

from edgeq.deploy.report.markdown import plain
from edgeq.deploy.sweep.orderings import sentence_of
from edgeq.deploy.sweep.plot import write_plot
from edgeq.deploy.sweep.plots import panels_of
from edgeq.deploy.sweep.summary import table_of
from edgeq.files import write_text
from edgeq.tabular import counted

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from edgeq.deploy.sweep.orderings import Decision
    from edgeq.deploy.sweep.plan import Sweep
    from edgeq.deploy.sweep.store import CellRecord
    from edgeq.deploy.sweep.summary import Row

REPORT, PLOTS = "report.md", "plots.svg"


def write_report(
    sweep: Sweep,
    folder: Path,
    rows: Sequence[Row],
    records: Sequence[CellRecord],
    decisions: Sequence[Decision],
) -> None:
    """Write the page, and the plots where the sweep asks for any."""
    panels = [panel for plot in sweep.plots for panel in panels_of(plot, rows)]
    if panels:
        write_plot(folder / PLOTS, panels)
    lines = [*_lines(sweep, rows, records, decisions)]
    if panels:
        lines += [f"![{plain(sweep.title)}]({PLOTS})", ""]
    write_text(folder / REPORT, "\n".join(lines), overwrite=True)


def _lines(
    sweep: Sweep,
    rows: Sequence[Row],
    records: Sequence[CellRecord],
    decisions: Sequence[Decision],
) -> Iterator[str]:
    yield from (f"# {plain(sweep.title)}", "", *_about(sweep, records), "")
    columns, cells, _ = table_of(sweep, rows)
    shown = [
        at
        for at, name in enumerate(columns)
        if not (name in sweep.grid and len(sweep.grid[name]) == 1) and any(row[at] for row in cells)
    ]
    yield f"| {' | '.join(plain(columns[at]) for at in shown)} |"
    yield f"|{'---|' * len(shown)}"
    yield from (f"| {' | '.join(plain(row[at]) for at in shown)} |" for row in cells)
    yield ""
    if decisions:
        yield from (*(f"- {plain(sentence_of(each))}" for each in decisions), "")


def _about(sweep: Sweep, records: Sequence[CellRecord]) -> Iterator[str]:
    """How the cells were made: what is the same in all, where, when, and at what cost."""
    same = [
        f"{name} {values[0]}"
        for name, values in sweep.grid.items()
        if len(values) == 1 and name != sweep.repeat
    ]
    if same:
        yield f"- in all cells: {plain(', '.join(same))}"
    dates = sorted({cell.date for cell in records if cell.date})
    when = " to ".join(dict.fromkeys((dates[0], dates[-1]))) if dates else "an unknown date"
    where = ", ".join(sorted({cell.cpu for cell in records if cell.cpu})) or "an unknown machine"
    yield f"- computed on {plain(where)}, {when}"
    seconds = [cell.seconds for cell in records]
    total = len(list(sweep.configurations())) * len(sweep.repeats)
    yield (
        f"- {counted(len(records), 'cell', of=total)}, {statistics.median(seconds):.3g} s "
        f"a cell (median), {sum(seconds) / 60:.3g} min in all"
    )
    if sweep.repeat:
        values = sorted({cell.parameters[sweep.repeat] for cell in records}, key=str)
        yield (
            f"- means over {plain(sweep.repeat)} {plain(', '.join(map(str, values)))}; ± half of "
            "Student's 95 % interval"
        )
    codes = {cell.code for cell in records if cell.code}
    if len(codes) > 1:
        yield f"- by {len(codes)} versions of edgeq's code"
    for source in dict.fromkeys(each.source for each in sweep.published):
        yield f"- published: {plain(source)}"
