"""The sums of each layer: how wide an accumulator has to be."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from edgeq.linting.layer_bounds import dead_channels, pair_bounds, sum_bounds
from edgeq.tabular import Table, counted

if TYPE_CHECKING:
    from collections.abc import Sequence

    from edgeq.linting.model import LintModel

WIDTHS = (16, 24, 32)
"""Of the accumulators that channels are counted for, in bits."""


@dataclass(frozen=True, slots=True)
class LayerSums:
    """What the sums of one layer can come to, exactly; nothing is assumed but the input's range.

    Attributes:
        layer: its name in the file.
        op_type: what the file calls it.
        channels: how many output channels it has.
        smallest: the smallest sum, its bias included, in steps of input scale times weight scale.
        largest: the largest sum.
        bits: the least width of an accumulator that never overflows, in whatever order it adds.
        overflow: for each of :data:`WIDTHS`, how many channels need a wider one.
        pairs_overflow: pairs of products that can leave 16 bits on x86 without VNNI.
        pairs: how many pairs kernels add there; 0 where they add none.
        dead: channels whose result is the same for every input.
    """

    layer: str
    op_type: str
    channels: int
    smallest: int
    largest: int
    bits: int
    overflow: tuple[int, ...]
    pairs_overflow: int
    pairs: int
    dead: int


def layer_sums(model: LintModel) -> tuple[LayerSums, ...]:
    """The sums of each layer that has integers, in the order of the file."""
    return tuple(_rows(model))


def _rows(model: LintModel) -> list[LayerSums]:
    found = []
    for layer in model.layers:
        sums = sum_bounds(layer)
        if sums is None:
            continue
        pairs = pair_bounds(layer)
        found.append(
            LayerSums(
                layer.node,
                layer.op_type,
                len(sums.smallest),
                int(sums.smallest.min(initial=0)),
                int(sums.largest.max(initial=0)),
                sums.bits,
                tuple(sums.channels_beyond(bits) for bits in WIDTHS),
                0 if pairs is None else pairs.beyond,
                0 if pairs is None else pairs.total,
                dead_channels(layer),
            )
        )
    return found


def sums_table(file: str, rows: Sequence[LayerSums], skipped: int) -> Table:
    """The layers with the least accumulator that provably never overflows."""
    most = max((row.bits for row in rows), default=0)
    left = f"; {skipped} more in float or with sums that the file does not tell" if skipped else ""
    return Table(
        f"{file}: no sum in {counted(len(rows), 'layer')} leaves {most} bits{left}"
        if rows
        else f"{file}: no layer has sums of integers",
        (
            *("layer", "type", "smallest sum", "largest sum", "bits"),
            *(f"channels beyond {bits}" for bits in WIDTHS),
            *("pairs beyond 16", "dead channels"),
        ),
        [
            (
                row.layer,
                row.op_type,
                f"{row.smallest:,}",
                f"{row.largest:,}",
                str(row.bits),
                *(f"{number:,} of {row.channels:,}" if number else "" for number in row.overflow),
                f"{row.pairs_overflow:,} of {row.pairs:,}" if row.pairs_overflow else "",
                str(row.dead or ""),
            )
            for row in rows
        ],
    )
