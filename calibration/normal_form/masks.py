"""Masks of attention, whose numbers no grid of integers holds well.

A mask adds minus infinity, -1e9, -1e4 or -100 to scores that a softmax is to leave out, or puts
such a number in their place. On one grid with the scores it would leave them few steps, or one. So
it fills with what is just small enough: all that is left out then has less than 0.04 % of the sum
of the others, which a softmax of 8 bits cannot show. Scores added to a mask saturate there.

What is -1e4 or below always leaves out. A number above it does where no score could bring it back,
were their range twice as wide as on the samples, and where each softmax keeps something.
A mask that is computed, as (1 - kept) * -1e4 from an input that tells which tokens are kept, is
filled by its factor.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from edgeq.calibration._nodes import (
    constant,
    floats,
    name_of,
    number,
    only_read_by,
    output,
    shape_of,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    import onnx_ir as ir
    from numpy.typing import NDArray

    from edgeq.calibration.normal_form.draft import Draft

    Ends = Callable[[Sequence[str]], Mapping[str, tuple[float, float]]]

_NEVER_KEPT = -1e4  # no score that counts is so small; half precision ends at -65,504
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
    told, filled = [], set[str]()
    for node, scores, index in masks:
        low, high = found[name_of(scores)]
        if name_of(scores) in filled:  # another mask has gone over them
            now = name_of(_scores(node, index))
            low, high = ends([now])[now]
        if (left_out := _left_out(node, index, low, high)).any():
            told.append(_fill(draft, node, index, left_out, (low, high)))
            filled.add(name_of(output(node)))
    return told + _fill_factors(draft, ends)


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
            if known and bool((array < -_LOG_OF_SHARE).any()):
                yield node, scores[0], index


def _fill_factors(draft: Draft, ends: Ends) -> list[str]:
    """Let masks that are a factor times zeros and ones fill with numbers near the scores."""
    told = []
    for factor in tuple(draft.graph):
        place = _factor(factor)
        if place is None:
            continue
        index, switch = place
        masks = [(node, _scores(node, read)) for node, read in output(factor).uses()]
        found = ends([name_of(each) for each in (switch, *(scores for _, scores in masks))])
        low, high = found[name_of(switch)]
        if low < 0 or high not in (0, 1):
            continue
        fills = []
        for node, scores in masks:
            low, high = found[name_of(scores)]
            fill = math.floor(low - _needed(node))
            _bound(draft, node, fill)
            fills.append(fill - math.ceil(high))
            told.append(_done(node, fill, low))
        made = name_of(output(factor))
        draft.set_constant(factor, index, f"{made}_factor", np.array(min(fills), np.float32))
    return told


def _factor(node: ir.Node) -> tuple[int, ir.Value] | None:
    """Where the factor of a computed mask stands, and what it is multiplied by; None for others."""
    if node.domain or node.op_type != "Mul" or len(node.inputs) != 2:
        return None
    for index, (value, other) in enumerate(zip(node.inputs, node.inputs[::-1], strict=True)):
        factor = number(value)
        if factor is None or factor > _NEVER_KEPT or other is None:
            continue
        masked = only_read_by(
            output(node), lambda reader: reader.op_type == "Add" and _only_into_softmax(reader)
        )
        return (index, other) if masked else None
    return None


def _only_into_softmax(node: ir.Node) -> bool:
    return only_read_by(
        output(node),
        lambda reader: (
            reader.op_type == "Softmax"
            or (reader.op_type in _MASKS and reader is not node and _only_into_softmax(reader))
        ),
    )


def _left_out(node: ir.Node, index: int, low: float, high: float) -> NDArray[np.bool_]:
    """Which numbers of a mask leave out scores that lie between two others."""
    array = _numbers(node, index)
    never = array <= _NEVER_KEPT
    if node.op_type == "Add":
        gap = 2 * (high - low) + _needed(node)
        values = np.unique(array)
        wide = np.flatnonzero(np.diff(values) > gap)
        found = array <= values[wide[-1]] if wide.size else never
        where = found
    else:
        found = array < 2 * low - high - _needed(node)
        where = found & (constant(node.inputs[0]) == (index == 1))
    return found | never if _each_keeps(node, where) else never


def _each_keeps(node: ir.Node, left_out: NDArray[np.bool_]) -> bool:
    """Whether some score of each softmax, along its last axis, is not left out."""
    reader = next(reader for reader, _ in output(node).uses())
    if reader.op_type != "Softmax":
        return _each_keeps(reader, left_out)
    rank = len(shape_of(output(node)) or ())
    axis = reader.attributes["axis"].as_int() if "axis" in reader.attributes else -1
    return axis in (-1, rank - 1) and left_out.ndim > 0 and not left_out.all(axis=-1).any()


def _fill(
    draft: Draft,
    node: ir.Node,
    index: int,
    left_out: NDArray[np.bool_],
    ends: tuple[float, float],
) -> str:
    """Fill with numbers near the scores, which lie between two ends; returns what was done."""
    made, array, (low, high) = output(node), _numbers(node, index), ends
    if node.op_type == "Where":
        fill = math.floor(low - _needed(node))
        filled = np.where(left_out, fill, array)
    else:
        kept = float(array[~left_out].min(initial=0.0))
        fill = math.floor(low + kept - _needed(node))
        filled = np.where(left_out, fill - math.ceil(high), array)  # no sum is above it
        _bound(draft, node, fill)
    draft.set_constant(node, index, f"{name_of(made)}_mask", filled.astype(np.float32))
    return _done(node, fill, low)


def _done(node: ir.Node, fill: int, low: float) -> str:
    made = name_of(output(node))
    return f"mask {made!r}: leaves out with {fill}, where scores begin at {low:.3g}"


def _needed(node: ir.Node) -> float:
    """How far below all others a score is to be, so that all such have no share."""
    count = max(
        (size for size in (shape_of(output(node)) or ())[-2:] if size is not None), default=1
    )
    return _LOG_OF_SHARE + math.log(count)


def _numbers(node: ir.Node, index: int) -> NDArray[np.float64]:
    array = floats(node, index)
    if array is None:  # it was found by being a constant: a mistake of ours
        raise ValueError(f"{node.name} has no constant input {index}")
    return array


def _scores(node: ir.Node, index: int) -> ir.Value:
    """What a mask is applied to, as it is now."""
    scores = node.inputs[1 - index if node.op_type == "Add" else 3 - index]
    if scores is None:  # as above
        raise ValueError(f"{node.name} has no scores")
    return scores


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
