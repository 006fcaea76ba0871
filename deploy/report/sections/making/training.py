"""The curves of a training, epoch by epoch, and whether targets can hold a scheme."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from edgeq.deploy.report.blocks import facts, figure, light, several, table
from edgeq.deploy.report.charts.plots import Series, lines_chart, swatch
from edgeq.deploy.report.documents import figure as judged
from edgeq.deploy.report.documents import (
    figure_name,
    mapping,
    number,
    of_kind,
    records,
    text,
    whole,
)
from edgeq.deploy.report.markup import NOTHING, Markup, join
from edgeq.deploy.report.values import MISSING, count, general
from edgeq.tabular import counted

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from edgeq.deploy.report.documents import Document
    from edgeq.plain import Json

EXACTNESS = {"exact": "good", "unknown": "none"}
"""The light of what a target makes of a kind of tensor; of everything else it is ``look``."""


def section(documents: Sequence[Document]) -> Markup:
    """Each training, and each check of a scheme."""
    return join(
        [
            *(_training(document) for document in of_kind(documents, "train")),
            *(_check(document) for document in of_kind(documents, "check")),
        ]
    )


def tested(content: Mapping[str, Json]) -> dict[str, Json]:
    """What a network was tested by, as a stage has it: a score of its task, or an accuracy."""
    test = mapping(content.get("test"))
    return {"score" if "value" in test else "accuracy": test}


def shown(content: Mapping[str, Json]) -> str:
    """The test figure with its interval, in words."""
    test = tested(content)
    found = judged(test)
    if found is None:
        return MISSING
    ends = f" (95 % interval {found[1]:.2f} to {found[2]:.2f})" if found[1] < found[2] else ""
    return f"{figure_name([test])} {found[0]:.2f}{ends}"


def _training(document: Document) -> Markup:
    content = document.content
    history = records(content.get("history"))
    recipe = mapping(content.get("recipe"))
    share = "accuracy" in tested(content)
    factor, title = (100.0, "accuracy (%)") if share else (1.0, "figure of the task")
    best = whole(content.get("best_epoch")) or 0
    return several(
        facts(
            [
                ("network", text(recipe.get("model"))),
                ("data", text(recipe.get("data"))),
                ("folder", text(content.get("folder"))),
                ("test", shown(content)),
                ("best epoch", f"{best + 1} of {len(history)}"),
                ("took", f"{number(content.get('seconds')):,.0f} s"),
            ]
        ),
        _curves(history, "loss", {"training": "loss", "validation": "validation_loss"}, 1.0),
        _curves(
            history,
            title,
            {"training": "accuracy", "validation": "validation", "test": "test"},
            factor,
        ),
    )


def _curves(
    history: Sequence[Mapping[str, Json]], title: str, keys: Mapping[str, str], factor: float
) -> Markup:
    """Lines over the epochs, of what the history has."""
    series = [
        Series(
            name,
            [(float(n), factor * number(each.get(key))) for n, each in enumerate(history)],
            place,
        )
        for place, (name, key) in enumerate(keys.items())
        if any(math.isfinite(number(each.get(key))) for each in history)
    ]
    if len(history) < 2 or not series:
        return NOTHING
    epochs = [f"{1 + (whole(each.get('epoch')) or 0)}" for each in history]
    ends = "; ".join(
        f"{each.name} from {general(each.points[0][1])} to {general(each.points[-1][1])}"
        for each in series
    )
    return figure(
        f"{title.capitalize()} of each epoch",
        lambda width: lines_chart(width, series, x_title="epoch", y_title=title, x_names=epochs),
        table(
            f"{title.capitalize()} of each epoch",
            ("epoch", *(each.name for each in series)),
            [
                (epoch, *(general(each.points[n][1]) for each in series))
                for n, epoch in enumerate(epochs)
            ],
        ),
        words=f"{title.capitalize()} over {counted(len(history), 'epoch')}: {ends}",
        key=[swatch(each.number, each.name) for each in series],
        readout=True,
    )


def _check(document: Document) -> Markup:
    return join(
        table(
            document.titled(f"what {text(target.get('target'))} makes of the scheme"),
            ("what", "asked", "verdict", "stored", "runs as", "why", "hint", "number"),
            [
                (
                    text(each.get("kind")),
                    text(each.get("requirement")),
                    light(
                        EXACTNESS.get(text(each.get("verdict")), "look"), text(each.get("verdict"))
                    ),
                    text(each.get("stored")),
                    text(each.get("runs")),
                    text(each.get("why")),
                    text(each.get("hint")),
                    count(whole(each.get("count"))),
                )
                for each in records(target.get("findings"))
            ],
            words=7,
        )
        for target in records(document.content.get("targets"))
    )
