"""Colours and marks of the plots.

Every colour has a contrast of at least 3:1 on white and on the dark page, and is of the set by
Okabe and Ito (Color Universal Design) or made darker from it. Colour is never alone: stable
networks are drawn in cool colours, unbroken and with filled marks, original ones in warm colours,
dashed and with open marks.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from edgeq.deploy.report.content import LayerCurve, ModelRow, Report

COOL = ("#0072b2", "#009e73", "#7b61c9")
WARM = ("#d55e00", "#b07d00", "#c2578f")
SERIES = (COOL[0], WARM[0], COOL[1], WARM[2], COOL[2], WARM[1])
SYMBOLS = ("circle", "square", "diamond", "triangle-up", "cross", "pentagon", "star")


@dataclass(frozen=True, slots=True)
class Style:
    """How one network in one scheme is drawn.

    Attributes:
        color: as ``#rrggbb``.
        dash: plotly's name of the line pattern.
        symbol: plotly's name of the mark.
    """

    color: str
    dash: str
    symbol: str


def model_styles(report: Report) -> dict[tuple[str, str], Style]:
    """The style of each (model, scheme): the same in every plot of a report."""
    kinds: dict[tuple[str, str], bool] = {}
    items: tuple[ModelRow | LayerCurve, ...] = (*report.rows, *report.curves)
    for item in items:
        kinds.setdefault((item.model, item.scheme), item.stable)
    stable = [key for key, kind in kinds.items() if kind]
    original = [key for key, kind in kinds.items() if not kind]
    return {key: _style(number, stable=True) for number, key in enumerate(stable)} | {
        key: _style(number, stable=False) for number, key in enumerate(original)
    }


def _style(number: int, *, stable: bool) -> Style:
    colors, symbol = (COOL if stable else WARM), SYMBOLS[number % len(SYMBOLS)]
    return Style(
        colors[number % len(colors)],
        "solid" if stable else "dash",
        symbol if stable else f"{symbol}-open",
    )
