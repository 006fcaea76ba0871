"""How errors grow from block to block, of all networks together."""

from __future__ import annotations

from typing import TYPE_CHECKING

from edgeq.deploy.report.blocks import figure, several, table
from edgeq.deploy.report.charts.plots import Series, lines_chart, swatch
from edgeq.deploy.report.documents import mapping, number, of_kind, records, text
from edgeq.deploy.report.markup import NOTHING, Markup
from edgeq.deploy.report.values import MISSING, decibels, general

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from edgeq.deploy.report.documents import Document
    from edgeq.plain import Json

_MOST = 12  # lines of a chart


def section(documents: Sequence[Document]) -> Markup:
    """One line a stage, the networks of all documents in one chart, and the fitted rates."""
    known = [
        (f"{document.label}: {text(each.get('stage'))}", each, records(each.get("blocks")))
        for document in of_kind(documents, "compare")
        for each in records(document.main.get("growth"))
    ]
    known = [each for each in known if each[2]]
    if not known:
        return NOTHING
    rates = table(
        "What a block costs, by a line fitted to the SQNR of the blocks",
        ("stage", "against", "dB a block (95 % interval)", "blocks", "MSE", "RMSE"),
        [
            (
                name,
                text(each.get("source")),
                rate(mapping(each.get("rate"))),
                str(len(blocks)),
                general(number(each.get("mse"))),
                general(number(each.get("rmse"))),
            )
            for name, each, blocks in known
        ],
        words=2,
    )
    drawn = [
        (name, blocks)
        for name, _, blocks in known
        if any(number(block.get("rmse")) > 0 for block in blocks)
    ][:_MOST]
    if not drawn:
        return rates
    series = [
        Series(name, [(float(n), number(b.get("rmse"))) for n, b in enumerate(blocks, 1)], place)
        for place, (name, blocks) in enumerate(drawn)
    ]
    return several(
        figure(
            "Error at the end of each block",
            lambda width: lines_chart(
                width, series, x_title="block", y_title="RMSE, real units", log=True
            ),
            _table(drawn),
            words="; ".join(
                f"{name}: {general(number(blocks[0].get('rmse')))} at the first block, "
                f"{general(number(blocks[-1].get('rmse')))} at the last"
                for name, blocks in drawn
            ),
            key=[swatch(each.number, each.name) for each in series],
            readout=True,
        ),
        rates,
    )


def rate(growth: Mapping[str, Json]) -> str:
    """Decibels a block with their interval; nothing where no line could be fitted."""
    if not growth:
        return ""
    ends = [f"{number(growth.get(name)):+.2f}" for name in ("rate_db", "low_db", "high_db")]
    return f"{ends[0]} ({ends[1]} to {ends[2]})"


def _table(drawn: Sequence[tuple[str, Sequence[Mapping[str, Json]]]]) -> Markup:
    longest = max(len(blocks) for _, blocks in drawn)
    return table(
        "RMSE at the end of each block, and the SQNR in dB",
        ("block", *(name for name, _ in drawn)),
        [
            (str(n + 1), *(_cell(blocks[n]) if n < len(blocks) else MISSING for _, blocks in drawn))
            for n in range(longest)
        ],
    )


def _cell(block: Mapping[str, Json]) -> str:
    rmse, sqnr = number(block.get("rmse")), number(block.get("sqnr_db"))
    return "equal" if rmse == 0 else f"{general(rmse)} ({decibels(sqnr)})"
