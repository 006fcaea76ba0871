"""Masks of attention, whose numbers no grid of integers holds.

A mask adds minus infinity, or -1e9, to scores that a softmax is to leave out, or puts such a number
in their place. On one grid with the scores it would leave them one step. So it fills with what is
just small enough: all that is left out then has less than 0.04 % of the sum of the others, which a
softmax of 8 bits cannot show. Scores added to a mask saturate there.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from edgeq.calibration._nodes import constant, floats, name_of, only_read_by, output, shape_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    import onnx_ir as ir

    from edgeq.calibration.normal_form.draft import Draft

    Ends = Callable[[Sequence[str]], Mapping[str, tuple[float, float]]]

_LEFT_OUT = -1e4  # no score that counts is below it; half precision ends at -65,504
_LOG_OF_SHARE = 8.0  # e^-8 of the largest score is what all others together may have
_MASKS = ("Add", "Where")


def fill_masks(draft: Draft, ends: Ends) -> list[str]:
    """Let masks fill with numbers near the scores, in place.

    Args:
        draft: a float graph.
        ends: gives the smallest and the largest number of some tensors, on samples.

    Returns:
        What was done, a line for each mask.
    """
    masks = list(_masks(draft.graph))
    found = ends([name_of(scores) for _, scores, _ in masks]) if masks else {}
    told = []
    for node, scores, index in masks:
        low, high = found[name_of(scores)]
        if not low >= _LEFT_OUT:  # scores that another mask has gone over already
            low, high = ends([name_of(scores)])[name_of(scores)]
        told.append(_fill(draft, node, index, low, high))
    return told


def _masks(graph: ir.Graph) -> Iterator[tuple[ir.Node, ir.Value, int]]:
    """Each mask in front of a softmax: its node, the scores, and where its constant stands."""
    for node in tuple(graph):
        if node.domain or node.op_type not in _MASKS or not _only_into_softmax(node):
            continue
        operands = range(1 if node.op_type == "Where" else 0, len(node.inputs))
        numbers = {index: array for index in operands if (array := floats(node, index)) is not None}
        scores = [node.inputs[index] for index in operands if index not in numbers]
        if len(numbers) == len(scores) == 1 and scores[0] is not None:
            ((index, array),) = numbers.items()
            known = node.op_type == "Add" or constant(node.inputs[0]) is not None
            if known and bool((array < _LEFT_OUT).any()):
                yield node, scores[0], index


def _only_into_softmax(node: ir.Node) -> bool:
    return only_read_by(
        output(node),
        lambda reader: (
            reader.op_type == "Softmax"
            or (reader.op_type in _MASKS and reader is not node and _only_into_softmax(reader))
        ),
    )


def _fill(draft: Draft, node: ir.Node, index: int, least: float, most: float) -> str:
    made, array = output(node), floats(node, index)
    if array is None:  # it was found by being a constant: a mistake of ours
        raise ValueError(f"{node.name} has no constant input {index}")
    count = max((size for size in (shape_of(made) or ())[-2:] if size is not None), default=1)
    fill = math.floor(least - _LOG_OF_SHARE - math.log(count))
    left_out = array < _LEFT_OUT
    if node.op_type == "Where":
        filled = np.where(left_out, fill, array)
    else:
        filled = np.where(left_out, fill - math.ceil(most), array)  # no sum is above it
        _bound(draft, node, fill)
    draft.set_constant(node, index, f"{name_of(made)}_mask", filled.astype(np.float32))
    return f"mask {name_of(made)!r}: leaves out with {fill}, where scores begin at {least:.3g}"


def _bound(draft: Draft, node: ir.Node, fill: float) -> None:
    """Let a sum end at a number, at which its grid saturates."""
    made = output(node)
    readers = tuple(made.uses())
    low = draft.reals(node, "low", np.array(fill))
    clip = draft.node("Clip", [made, low], f"{name_of(made)}_bounded")
    draft.graph.insert_after(node, clip)
    output(clip).shape, output(clip).type = made.shape, made.type
    for reader, position in readers:
        reader.replace_input_with(position, output(clip))
