"""Accuracy, or the score of the task, on every target, with its interval."""

from __future__ import annotations

from typing import TYPE_CHECKING

from edgeq.deploy.report.blocks import figure, in_turn, several, table
from edgeq.deploy.report.charts.plots import Interval, intervals_chart
from edgeq.deploy.report.documents import figure as judged
from edgeq.deploy.report.documents import (
    figure_name,
    mapping,
    number,
    of_kind,
    records,
    stage_name,
    text,
    whole,
)
from edgeq.deploy.report.markup import NOTHING, Markup
from edgeq.deploy.report.values import count, kilobytes, percent
from edgeq.tabular import counted

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from edgeq.deploy.report.documents import Document
    from edgeq.deploy.report.verdict import Verdict
    from edgeq.plain import Json


def section(documents: Sequence[Document], verdict: Verdict) -> Markup:
    """A chart for each comparison and survey."""
    return in_turn(
        (document.label, _chart(_stages(document), document, verdict))
        for document in of_kind(documents, "compare", "survey")
    )


def _stages(document: Document) -> list[dict[str, Json]]:
    if document.kind == "compare":
        return records(document.main.get("stages"))
    return [
        {**row, "artefact": row.get("network")}
        for row in records(document.main.get("rows"))
        if not row.get("failure")
    ]


def _chart(stages: Sequence[Mapping[str, Json]], document: Document, verdict: Verdict) -> Markup:
    known = [(stage, value) for stage in stages if (value := judged(stage)) is not None]
    if not known:
        return NOTHING
    title = figure_name(stages)
    rows = [
        Interval(
            stage_name(stage),
            value[0],
            value[1],
            value[2],
            verdict.worst(stage_name(stage)) if stage_name(stage) in verdict.lights else "none",
            f"{value[0]:.2f}",
        )
        for stage, value in known
    ]
    samples = whole(document.main.get("samples")) or 0
    words = f"{title.capitalize()} of each stage: " + "; ".join(
        f"{row.name} {row.value:.2f} ({row.low:.2f} to {row.high:.2f})" for row in rows
    )
    behind = table(
        f"{title.capitalize()}, agreement with the reference, and what ran",
        ("stage", "what ran", title, "95 % from", "to", "right", "agrees (%)", "changed", "kB"),
        [_cells(stage, value) for stage, value in known],
        words=2,
    )
    return several(
        figure(
            document.titled(
                f"{title} on {counted(samples, 'sample')} of {text(document.main.get('data'))}, "
                "with 95 % intervals"
            ),
            lambda width: intervals_chart(width, rows, x_title=title),
            behind,
            words=words,
        )
    )


def _cells(stage: Mapping[str, Json], value: tuple[float, float, float]) -> tuple[str, ...]:
    accuracy = mapping(stage.get("accuracy"))
    agreement = number(stage.get("agreement"))
    changed = whole(stage.get("changed"))
    changed = whole(stage.get("flipped")) if changed is None else changed
    interval = ("", "") if value[1] == value[2] else (f"{value[1]:.2f}", f"{value[2]:.2f}")
    return (
        stage_name(stage),
        "; ".join(f"{name} {text(said)}" for name, said in mapping(stage.get("facts")).items()),
        f"{value[0]:.2f}",
        *interval,
        f"{whole(accuracy.get('correct')):,} of {whole(accuracy.get('total')):,}"
        if accuracy
        else "",
        percent(agreement) if agreement == agreement else "",
        "" if changed is None else count(changed),
        kilobytes(whole(stage.get("size_bytes"))),
    )
