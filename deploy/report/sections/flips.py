"""The samples whose answer changed, as pictures."""

from __future__ import annotations

from typing import TYPE_CHECKING

from edgeq.deploy.report.blocks import in_turn, paragraph
from edgeq.deploy.report.documents import of_kind, records, stage_name, text, whole
from edgeq.deploy.report.markup import NOTHING, Markup, element, join
from edgeq.tabular import counted

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from edgeq.deploy.report.documents import Document
    from edgeq.plain import Json

MOST_SHOWN = 12
MOST_STAGES = 4


def section(documents: Sequence[Document]) -> Markup:
    """The stages of each comparison that changed most answers."""
    return in_turn(
        (document.label, _comparison(document)) for document in of_kind(documents, "compare")
    )


def flipped_ids(document: Document) -> list[int]:
    """The samples of which pictures are wanted, those of the stages that changed most first."""
    return [sample for stage in _changed(document) for sample in _ids(stage)[:MOST_SHOWN]]


def _changed(document: Document) -> list[dict[str, Json]]:
    changed = [each for each in records(document.main.get("stages")) if _ids(each)]
    return sorted(changed, key=lambda each: -(whole(each.get("changed")) or len(_ids(each))))[
        :MOST_STAGES
    ]


def _ids(stage: Mapping[str, Json]) -> list[int]:
    ids = stage.get("flipped")
    return [each for each in ids if isinstance(each, int)] if isinstance(ids, list) else []


def _comparison(document: Document) -> Markup:
    alike: dict[str, list[dict[str, Json]]] = {}
    for stage in _changed(document):
        answers = document.answers.get(stage_name(stage), {})
        said = [(sample, answers.get(sample)) for sample in _ids(stage)]
        alike.setdefault(repr((stage.get("changed"), said)), []).append(stage)
    return join(_stages(stages, document) for stages in alike.values())


def _stages(stages: Sequence[Mapping[str, Json]], document: Document) -> Markup:
    """What some stages changed alike."""
    stage, names = stages[0], [stage_name(each) for each in stages]
    ids = _ids(stage)
    reference = document.answers.get(text(document.main.get("reference")), {})
    mine = document.answers.get(names[0], {})
    number = whole(stage.get("changed")) or len(ids)
    changed = f"{counted(number, 'answer')} changed{' alike' if len(names) > 1 else ''}"
    head = element("h3", document.titled(f"{changed} by {', '.join(names)}"))
    cards = [
        element(
            "figure",
            element(
                "img", src=document.pictures[sample], alt=f"sample {sample}", width=64, height=64
            ),
            element("figcaption", *_words(sample, document, reference, mine)),
        )
        for sample in ids[:MOST_SHOWN]
        if sample in document.pictures
    ]
    if cards:
        left = number - len(cards)
        more = paragraph(f"… and {left:,} more", class_="soft") if left > 0 else NOTHING
        return join([head, element("div", *cards, class_="pictures"), more])
    told = ", ".join(_line(sample, reference, mine) for sample in ids[:40])
    return join([head, paragraph(f"Samples {told}{', …' if number > 40 else ''}")])


def _words(
    sample: int, document: Document, reference: Mapping[int, str], mine: Mapping[int, str]
) -> list[Markup]:
    lines = [element("b", f"#{sample}")]
    if sample in document.titles:
        lines.append(element("span", f"is {document.titles[sample]}"))
    if sample in reference and sample in mine:
        lines.append(element("span", f"was {reference[sample]}"))
        lines.append(element("span", f"now {mine[sample]}"))
    return lines


def _line(sample: int, reference: Mapping[int, str], mine: Mapping[int, str]) -> str:
    if sample in reference and sample in mine:
        return f"{sample} ({reference[sample]} → {mine[sample]})"
    return str(sample)
