"""Tables of what tasks score: stage by stage, class by class, slice by slice."""

from __future__ import annotations

from typing import TYPE_CHECKING

from edgeq.deploy import console
from edgeq.deploy.report.values import MISSING, general, kilobytes, percent, score
from edgeq.tabular import counted

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from edgeq.results import Comparison, Score, Stage

MOST_CLASSES = 20  # rows of a table; --json has all


def show_stages(found: Comparison, split: str) -> None:
    """How well each stage does the task, or how many answers are right."""
    if any(stage.score for stage in found.stages):
        show_scores(found, split)
        return
    columns = ("stage", "accuracy %", "95 % interval", "agrees %", "flipped", "kB")
    title = (
        f"{found.data} {split}, {counted(found.samples, 'sample')}; agreement with "
        f"{found.reference}"
    )
    console.write_table(
        title, columns, [_stage_cells(stage) for stage in found.stages], numbers=columns[1:]
    )


def _stage_cells(stage: Stage) -> tuple[str, ...]:
    scored = stage.accuracy
    interval = MISSING if scored is None else f"{percent(scored.low)} – {percent(scored.high)}"
    return (
        stage.name,
        percent(scored.fraction if scored else None),
        interval,
        percent(stage.agreement),
        MISSING if stage.changed is None else str(stage.changed),
        kilobytes(stage.size_bytes),
    )


def show_scores(found: Comparison, split: str) -> None:
    """The score of each stage, and below it classes and slices."""
    stages = [(stage, stage.score) for stage in found.stages if stage.score is not None]
    first = stages[0][1]
    further = list(first.further)
    decided = any(one.threshold is not None for _, one in stages)
    kept = any(share_kept(one, first) is not None for _, one in stages)
    parted = any(one.worst() is not None for _, one in stages)
    columns = [
        "stage",
        first.heading,
        *(("of reference %",) if kept else ()),
        *(f"{name} %" if first.is_share(name) else name for name in further),
        *(("threshold", "shift") if decided else ()),
        *(("worst",) if parted else ()),
        "kB",
    ]
    rows = [
        [
            stage.name,
            _cell(one, one.value),
            *((percent(share_kept(one, first)),) if kept else ()),
            *(
                percent(one.further.get(name))
                if one.is_share(name)
                else general(one.further.get(name))
                for name in further
            ),
            *(_threshold(one, first) if decided else ()),
            *((_worst(one),) if parted else ()),
            kilobytes(stage.size_bytes),
        ]
        for stage, one in stages
    ]
    title = f"{found.data} {split}, {counted(found.samples, 'sample')}; reference {found.reference}"
    numbers = [name for name in columns if name not in ("stage", "worst")]
    console.write_table(title, columns, rows, numbers=numbers)
    _show_parts(f"{first.name} of each class", [(s, one.per_class) for s, one in stages], first)
    for name in first.per_slice:
        parts = [(stage, one.per_slice.get(name, {})) for stage, one in stages]
        _show_parts(f"{first.name} by {name}", parts, first)


def share_kept(one: Score, reference: Score) -> float | None:
    """How much of the reference's score is left, a fraction; None for a figure that is an error."""
    if not one.higher_is_better or not reference.value > 0:
        return None
    return one.value / reference.value


def _show_parts(
    title: str, parts: Sequence[tuple[Stage, Mapping[str, float]]], score: Score
) -> None:
    names = list(parts[0][1])
    if len(names) < 2:
        return
    sign = 1 if score.higher_is_better else -1
    if len(names) > MOST_CLASSES:
        lowest = {
            name: min(sign * figures.get(name, float("inf")) for _, figures in parts)
            for name in names
        }
        names = sorted(names, key=lambda name: lowest[name])[:MOST_CLASSES]
        title = f"{title}, the {MOST_CLASSES} worst"
    columns = ["", *(stage.name for stage, _ in parts)]
    rows = [[name, *(_cell(score, figures.get(name)) for _, figures in parts)] for name in names]
    unit = " %" if score.percent else f" ({score.unit})" if score.unit else ""
    console.write_table(f"{title}{unit}", columns, rows, numbers=columns[1:])


def _cell(score: Score, value: float | None) -> str:
    return percent(value) if score.percent else general(value)


def _threshold(one: Score, reference: Score) -> tuple[str, str]:
    """The threshold of the best F1, and how far it moved from the reference's."""
    if one.threshold is None:
        return MISSING, MISSING
    if one is reference or reference.threshold is None:
        return f"{one.threshold:.3f}", MISSING
    return f"{one.threshold:.3f}", f"{one.threshold - reference.threshold:+.3f}"


def _worst(one: Score) -> str:
    found = one.worst()
    return MISSING if found is None else f"{found[0]} {score(one, found[1])}"
