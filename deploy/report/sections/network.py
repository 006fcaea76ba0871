"""The network drawn from input to output, with drift as colour: two stages side by side."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from edgeq.deploy.report.blocks import in_turn, paragraph, several
from edgeq.deploy.report.documents import of_kind, records, text, texts
from edgeq.deploy.report.markup import NOTHING, Markup, element
from edgeq.deploy.report.sections.drift import noise
from edgeq.deploy.report.values import short

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from edgeq.deploy.report.documents import Document
    from edgeq.plain import Json

STEPS = (0.1, 1.0, 3.0, 10.0)
"""Shares of error to signal, in per cent, at which the colour changes."""
LANE, HEIGHT = 12, 34
MOST_LANES = 8


@dataclass(frozen=True, slots=True)
class Row:
    """An operator and the lines that pass it.

    Attributes:
        lane: where its dot is.
        enters: the lanes from which its inputs come.
        passes: the lanes that only pass.
        leaves: whether something reads what it computes.
    """

    lane: int
    enters: tuple[int, ...]
    passes: tuple[int, ...]
    leaves: bool


def section(documents: Sequence[Document]) -> Markup:
    """Two stages of each comparison whose document holds the graphs."""
    return in_turn(
        (document.label, _comparison(document)) for document in of_kind(documents, "compare")
    )


def _comparison(document: Document) -> Markup:
    shown = _two(
        [
            hop
            for hop in records(document.main.get("from_reference"))
            if records(hop.get("tensors")) and document.graphs.get(_artefact(hop))
        ]
    )
    if not shown:
        return NOTHING
    drawn = [_graph(hop, document.graphs[_artefact(hop)], document) for hop in shown]
    against = text(document.main.get("reference"))
    return several(
        paragraph(
            document.titled(f"the error of each layer against {against}, by the signal.")
            + (" Both drawings move together." if len(drawn) > 1 else "")
        ),
        _key(),
        element("div", *drawn, class_="networks"),
    )


def _artefact(hop: Mapping[str, Json]) -> str:
    return text(hop.get("stage")).rpartition(" @ ")[0]


def _two(hops: Sequence[dict[str, Json]]) -> list[dict[str, Json]]:
    """Stages of two files where there are two, else two stages: those with most to compare."""
    ranked = sorted(hops, key=lambda hop: -len(records(hop.get("tensors"))))
    first = ranked[:1]
    others = [hop for hop in ranked if first and _artefact(hop) != _artefact(first[0])]
    chosen = [*first, *(others or ranked[1:])[:1]]
    return [hop for hop in hops if hop in chosen]


def _key() -> Markup:
    edges = (0.0, *STEPS)
    names = ["equal", *(f"up to {step:g} %" for step in STEPS), f"over {edges[-1]:g} %"]
    entries = [
        element("li", element("span", name, class_=f"chip d{n}")) for n, name in enumerate(names)
    ]
    return element("ul", *entries, class_="key")


def _step(share: float) -> int:
    return 0 if share == 0 else 1 + sum(share > step for step in STEPS)


def _graph(
    hop: Mapping[str, Json], nodes: Sequence[Mapping[str, Json]], document: Document
) -> Markup:
    drift = {text(each.get("tensor")): each for each in records(hop.get("tensors"))}
    rows = lay_out([(texts(node.get("inputs")), text(node.get("output"))) for node in nodes])
    lanes = min(
        MOST_LANES, 1 + max((max((row.lane, *row.passes, *row.enters)) for row in rows), default=0)
    )
    items = [
        _item(node, row, drift.get(text(node.get("output"))), lanes)
        for node, row in zip(nodes, rows, strict=True)
    ]
    name = text(hop.get("stage"))
    return element(
        "section",
        element("h3", name),
        element(
            "ol",
            *items,
            class_="network",
            tabindex=0,
            aria_label=document.titled(f"operators of {name}, from input to output"),
        ),
    )


def _item(
    node: Mapping[str, Json], row: Row, drift: Mapping[str, Json] | None, lanes: int
) -> Markup:
    tensor = text(node.get("output"))
    share = None if drift is None else noise(drift)
    chip = (
        element("span", "not compared", class_="chip dn")
        if share is None
        else element("span", _share(share), class_=f"chip d{_step(share)}")
    )
    return element(
        "li",
        _gutter(row, lanes),
        element("span", text(node.get("op")), class_="op"),
        " ",
        element("span", short(tensor), class_="name"),
        " ",
        chip,
        data_tensor=tensor,
    )


def _share(share: float) -> str:
    if share == 0:
        return "equal"
    return "< 0.001 %" if share < 0.001 else f"{share:.3g} %"


def _gutter(row: Row, lanes: int) -> Markup:
    def x(lane: int) -> float:
        return LANE * (min(lane, MOST_LANES - 1) + 0.5)

    middle = HEIGHT / 2
    moves = [f"M{x(lane):.0f} 0V{HEIGHT}" for lane in row.passes]
    moves += [
        f"M{x(lane):.0f} 0Q{x(lane):.0f} {middle / 2:.0f} {x(row.lane):.0f} {middle:.0f}"
        for lane in row.enters
    ]
    if row.leaves:
        moves.append(f"M{x(row.lane):.0f} {middle:.0f}V{HEIGHT}")
    dot = f"M{x(row.lane):.0f} {middle:.0f}h.01"
    return element(
        "svg",
        element("path", d="".join(moves), class_="edge") if moves else NOTHING,
        element("path", d=dot, class_="dot"),
        viewBox=f"0 0 {LANE * lanes} {HEIGHT}",
        width=LANE * lanes,
        height=HEIGHT,
        preserveAspectRatio="none",
        class_="gutter",
        aria_hidden="true",
    )


def lay_out(nodes: Iterable[tuple[Sequence[str], str]]) -> list[Row]:
    """Lanes for the tensors of a graph in order of execution, so that no two share one.

    Args:
        nodes: the inputs and the output of each operator; inputs that no operator computes, such
            as the network's own, have no lane before their first reader.
    """
    listed = [(list(dict.fromkeys(inputs)), output) for inputs, output in nodes]
    last = {name: n for n, (inputs, _) in enumerate(listed) for name in inputs}
    lanes: list[str | None] = []
    rows = []
    for n, (inputs, output) in enumerate(listed):
        enters = tuple(lanes.index(name) for name in inputs if name in lanes)
        stays = {lane for lane, name in enumerate(lanes) if name is not None and last[name] > n}
        ends = [lane for lane in enters if lane not in stays]
        free = [lane for lane in range(len(lanes) + 1) if lane not in stays]
        lane = min(ends, default=free[0])
        for ended in range(len(lanes)):
            if ended not in stays:
                lanes[ended] = None
        leaves = last.get(output, -1) > n
        if lane == len(lanes):
            lanes.append(None)
        if leaves:
            lanes[lane] = output
        rows.append(Row(lane, enters, tuple(sorted(stays)), leaves))
    return rows
