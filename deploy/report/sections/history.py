"""Several runs of the same subject, one after the other."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from edgeq.deploy.report.blocks import figure, several, table
from edgeq.deploy.report.charts.plots import Series, lines_chart, swatch
from edgeq.deploy.report.documents import figure as judged
from edgeq.deploy.report.documents import figure_name, mapping, number, records, stage_name, text
from edgeq.deploy.report.markup import NOTHING, Markup, join
from edgeq.deploy.report.sections.latency import profiles_of, trusted
from edgeq.deploy.report.values import MISSING
from edgeq.tabular import counted

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from edgeq.deploy.report.documents import Document
    from edgeq.plain import Json

MOST_LINES = 10


def section(subjects: Sequence[Sequence[Document]]) -> Markup:
    """Each subject that has several runs, oldest first."""
    return join(_subject(runs) for runs in subjects if len(runs) > 1)


def subjects_of(documents: Sequence[Document]) -> list[list[Document]]:
    """Documents of one command on the same files, oldest first; as they were given otherwise.

    Files of one name are the same where their paths are, as far as the command lines tell.
    """
    found: dict[tuple[str, frozenset[str]], list[Document]] = {}
    for document in documents:
        found.setdefault((document.kind, _stages(document)), []).append(document)
    return [sorted(runs, key=lambda run: run.created) for runs in found.values()]


def _stages(document: Document) -> frozenset[str]:
    """What tells one subject from another: the files that it is about, and the data."""
    main = document.main
    beside = "config" if main.get("config") else "baseline"  # of a gate
    others = {text(main.get(key)) for key in ("data", beside) if main.get(key)}
    return frozenset({*document.files.values(), *others})


def _subject(runs: Sequence[Document]) -> Markup:
    tables: list[Markup] = []
    if runs[0].kind in ("compare", "survey"):
        values = [{name: value[0] for name, value in _figures(run).items()} for run in runs]
        tables.append(_figure(runs, values, _title(runs[-1])))
    if runs[0].kind == "gate":
        tables.append(_gates(runs))
    times = [
        {
            stage_name(each): number(mapping(each.get("latency")).get("p50_ms"))
            for each in profiles_of(run)
            if trusted(each)
        }
        for run in runs
        if run.kind in ("profile", "survey")
    ]
    if any(times) and len({_machine(run) for run in runs}) == 1:
        tables.append(_figure(runs, times, "median latency (ms)"))
    return several(*tables)


def _machine(run: Document) -> str:
    return text(mapping(run.content.get("machine")).get("cpu"))


def _title(run: Document) -> str:
    return figure_name(records(run.main.get("stages")) or records(run.main.get("rows")))


def _figures(run: Document) -> dict[str, tuple[float, float, float]]:
    stages: list[Mapping[str, Json]] = list(records(run.main.get("stages")))
    stages += [{**row, "artefact": row.get("network")} for row in records(run.main.get("rows"))]
    return {stage_name(stage): value for stage in stages if (value := judged(stage)) is not None}


def _figure(runs: Sequence[Document], values: Sequence[Mapping[str, float]], title: str) -> Markup:
    stages = list(dict.fromkeys(stage for each in values for stage in each))
    if not stages:
        return NOTHING
    series = [
        Series(
            stage, [(float(n), each.get(stage, math.nan)) for n, each in enumerate(values)], place
        )
        for place, stage in enumerate(stages[:MOST_LINES])
    ]
    names = [run.label for run in runs]
    first, last = values[0], values[-1]
    moved = max(
        (
            (last[stage] - first[stage], stage)
            for stage in stages
            if stage in first and stage in last
        ),
        key=lambda each: abs(each[0]),
        default=(0.0, ""),
    )
    words = (
        f"From {names[0]} to {names[-1]}, {moved[1]} moved most: {moved[0]:+.4g}."
        if moved[0]
        else f"From {names[0]} to {names[-1]} nothing moved."
    )
    left = len(stages) - len(series)
    return figure(
        f"{runs[0].kind}: {title} over {len(runs)} runs. {words}"
        + (f" {counted(left, 'more stage', 'are')} in the table." if left else ""),
        lambda width: lines_chart(width, series, x_title="run", y_title=title, x_names=names),
        table(
            f"{title.capitalize()} by run, oldest first",
            ("run", "made", *stages),
            [
                (run.label, run.created, *(_cell(each.get(stage)) for stage in stages))
                for run, each in zip(runs, values, strict=True)
            ],
            words=2,
        ),
        words=words,
        key=[swatch(each.number, each.name) for each in series],
        readout=True,
    )


def _cell(value: float | None) -> str:
    return MISSING if value is None else f"{value:.4g}"


def _gates(runs: Sequence[Document]) -> Markup:
    return table(
        "Gates, oldest first",
        ("run", "made", "outcome", "against it"),
        [
            (
                run.label,
                run.created,
                text(run.main.get("outcome")),
                "; ".join(
                    text(each.get("message"))
                    for each in records(run.main.get("findings"))
                    if text(each.get("outcome")) not in ("pass", "expected-failure")
                ),
            )
            for run in runs
        ],
        words=4,
    )
