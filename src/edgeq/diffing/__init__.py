"""What differs between two model files, told without running either.

Both are read as :class:`edgeq.linting.model.LintModel`, whatever their formats, aligned, and then
compared number by number. A difference is told as what it is where it has a form that people know:
a scale times a factor, a zero point moved, channels in another order, a bias changed.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from edgeq.diffing.align import align
from edgeq.diffing.grids import grid_differences, handover_differences
from edgeq.diffing.layers import layer_differences, taps
from edgeq.diffing.records import Difference
from edgeq.linting.model import LintActivation

if TYPE_CHECKING:
    from collections.abc import Iterator

    from edgeq.linting.model import LintLayer, LintModel


@dataclass(frozen=True, slots=True)
class ModelDiff:
    """What differs between two files.

    Attributes:
        layers: how many layers with weights both have.
        grids: how many grids of activations both have.
        differences: in the order of the graph; empty where every number is the same.
    """

    layers: int
    grids: int
    differences: tuple[Difference, ...]


def diff(before: LintModel, after: LintModel) -> ModelDiff:
    """Compare two files.

    Args:
        before: the one that is taken as right.
        after: the other.
    """
    alike = before.format == after.format
    layers = align(
        *(model.with_weights for model in (before, after)),
        name=lambda layer: layer.node,
        shape=taps,
        what="layer",
    )
    grids = align(
        before.activations,
        after.activations,
        name=lambda activation: activation.name,
        shape=lambda activation: activation.grid.axis,
        what="activation",
        required=alike and bool(before.activations) and bool(after.activations),
    )
    known = dict(before.broken)
    dead = {layer.node for layer in (*before.layers, *after.layers) if layer.dead}
    found = [
        *(Difference("broken scale", *each) for each in after.broken if each[0] not in known),
        *(each for each in layers.missing if each.where not in dead),
        *(each for pair in layers.pairs for each in layer_differences(*pair)),
        *grids.missing,
        *(each for pair in grids.pairs for each in grid_differences(*pair, alike=alike)),
        *handover_differences(before.handovers, after.handovers),
    ]
    if not grids.pairs:  # two formats, and no name in common
        found += [each for pair in layers.pairs for each in _end_differences(*pair)]
    return ModelDiff(len(layers.pairs), len(grids.pairs), tuple(dict.fromkeys(found)))


def _end_differences(before: LintLayer, after: LintLayer) -> Iterator[Difference]:
    """How the grids that a layer reads and writes differ."""
    for end, old, new in (
        ("input", before.source, after.source),
        ("result", before.result, after.result),
    ):
        if old is not None and new is not None:
            where = f"{end} of {before.node}"
            pair = LintActivation(where, old), LintActivation(where, new)
            yield from grid_differences(*pair, alike=False)
