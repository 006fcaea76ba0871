"""Data movement in the operators that integer kernels have.

Slice, Pad with zeros, Gather, Reshape, Transpose, Concat, DepthToSpace and SpaceToDepth.

Split is as many Slices; padding by reflection, Tile and Expand pick places again, as Gather does;
a negative padding cuts off. All of it is exact.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import numpy as np
import onnx_ir as ir

from edgeq.calibration._nodes import (
    argument,
    constant,
    floats,
    integer,
    name_of,
    output,
    shape_of,
    text,
)
from edgeq.calibration.normal_form.statics import static_nodes

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from numpy.typing import NDArray

    from edgeq.calibration.normal_form.draft import Draft

_PaddingMode = Literal["reflect", "edge", "wrap"]
_PADDING_MODES: Mapping[str, _PaddingMode] = {"reflect": "reflect", "edge": "edge", "wrap": "wrap"}
_INFINITE = 1e30
_OPEN_END = 2**31 - 1  # what a Slice to the end is written with
_BROADCASTING = frozenset(("Add", "Sub", "Mul", "Div"))


def plain_moves(draft: Draft) -> None:
    """Rewrite in place whatever can be; what cannot stays, to be refused by its name."""
    static = static_nodes(draft.graph)
    for node in tuple(draft.graph):
        rewrite = _REWRITES.get(node.op_type) if node.domain == "" and node not in static else None
        if rewrite is not None:
            rewrite(draft, node)


def _known(node: ir.Node) -> tuple[list[int | None], list[int | None]] | None:
    """The shapes of the first input and of the result."""
    before, after = shape_of(argument(node, 0)), shape_of(output(node))
    return None if before is None or after is None else (list(before), list(after))


def _forget(draft: Draft, node: ir.Node) -> bool:
    """Remove a node that does nothing."""
    source = node.inputs[0]
    if source is None or not draft.can_stand_for(output(node), source):
        return False
    draft.finish(node, source)
    return True


def pick(
    draft: Draft,
    node: ir.Node,
    source: ir.Value,
    picks: Mapping[int, Sequence[int] | NDArray[np.int64]],
) -> ir.Value:
    """Places along some axes of a tensor, one Gather for each axis."""
    for axis, places in picks.items():
        shape = list(shape_of(source) or ())
        shape[axis] = len(places)
        indices = draft.numbers(node, f"axis{axis}_places", np.asarray(places, np.int64))
        source = draft.add(
            "Gather", [source, indices], node, f"axis{axis}", shape=shape, attributes={"axis": axis}
        )
    return source


def _cast(draft: Draft, node: ir.Node) -> None:
    source = node.inputs[0]
    if (
        source is not None
        and source.dtype == ir.DataType.FLOAT
        and node.attributes["to"].as_int() == ir.DataType.FLOAT
    ):
        _forget(draft, node)


def _split(draft: Draft, node: ir.Node) -> None:
    source, shape = node.inputs[0], shape_of(argument(node, 0))
    if source is None or shape is None:
        return
    axis = integer(node, "axis", 0) % len(shape)
    ends = [sizes[axis] for value in node.outputs if (sizes := shape_of(value)) is not None]
    if len(ends) < len(node.outputs) or None in ends or (axis == 0 and shape[0] is None):
        return
    start = 0
    for value, size in zip(node.outputs, ends, strict=True):
        bounds = [
            draft.constant(f"{name_of(value)}_{what}", np.array([at], np.int64))
            for what, at in _slice(start, start + (size or 0), axis)
        ]
        part = draft.add("Slice", [source, *bounds], node, "part", shape=shape_of(value))
        draft.take_over(value, part)
        start += size or 0
    draft.graph.remove(node, safe=True)


def _slice(start: int, end: int, axis: int) -> tuple[tuple[str, int], ...]:
    return ("starts", start), ("ends", end), ("axes", axis)


def _whole_numbers(value: ir.Value | None) -> list[int] | None:
    """The numbers of a constant; None for anything else."""
    array = constant(value)
    return None if array is None else [int(each) for each in array.reshape(-1)]


def _slice_of_part(draft: Draft, node: ir.Node) -> None:
    """A Slice of those axes only that it takes less than all of, such as not of the batch."""
    source, known = node.inputs[0], _known(node)
    if source is None or known is None:
        return
    bounds = [_whole_numbers(argument(node, index)) for index in range(1, 5)]
    starts, ends, axes, steps = bounds
    computed = any(
        argument(node, index) is not None and bound is None
        for index, bound in enumerate(bounds, start=1)
    )
    if computed or starts is None or ends is None:
        return
    axes = list(range(len(starts))) if axes is None else axes
    steps = [1] * len(starts) if steps is None else steps
    shape, rows = known[0], []
    for start, end, axis, step in zip(starts, ends, axes, steps, strict=True):
        size = shape[axis]
        if start != 0 or step != 1 or end < (_OPEN_END if size is None else size):
            rows.append((start, end, axis % len(shape), step))
    if not rows:
        _forget(draft, node)
    elif len(rows) < len(starts):
        inputs = [
            draft.numbers(node, what, np.array(column))
            for what, column in zip(
                ("starts", "ends", "axes", "steps"), zip(*rows, strict=True), strict=True
            )
        ]
        draft.finish(node, draft.add("Slice", [source, *inputs], node, "part"))


def _pad(draft: Draft, node: ir.Node) -> None:
    source, known = node.inputs[0], _known(node)
    amounts, axes = constant(argument(node, 1)), constant(argument(node, 3))
    if (
        source is None
        or known is None
        or amounts is None
        or (argument(node, 3) is not None and axes is None)
    ):
        return
    before, _ = known
    rank = len(before)
    ends = np.zeros((2, rank), np.int64)
    ends[:, list(range(rank)) if axes is None else [int(axis) % rank for axis in axes]] = (
        amounts.reshape(2, -1)
    )
    if any(before[axis] is None for axis in np.flatnonzero(ends.any(axis=0))):
        return
    if not ends.any():
        _forget(draft, node)
        return
    mode = text(node, "mode", "constant")
    if mode != "constant":
        if mode in _PADDING_MODES:
            draft.finish(
                node, pick(draft, node, source, _mirrored(before, ends, _PADDING_MODES[mode]))
            )
        return
    fill = 0.0 if argument(node, 2) is None else floats(node, 2)
    if fill is None:
        return
    value = float(np.asarray(fill).reshape(-1)[0])
    # in front of a pooling, infinity is another thing
    if abs(value) < _INFINITE or not (ends > 0).any():
        _constant_pad(draft, node, source, ends, value)


def _mirrored(
    before: Sequence[int | None], ends: NDArray[np.int64], mode: _PaddingMode
) -> dict[int, NDArray[np.int64]]:
    """Which place stands where; a negative padding cuts off."""
    picks = {}
    for axis in map(int, np.flatnonzero(ends.any(axis=0))):
        first, last = (int(end) for end in ends[:, axis])
        places = np.pad(np.arange(before[axis] or 0), (max(first, 0), max(last, 0)), mode)
        picks[axis] = places[max(-first, 0) : len(places) - max(-last, 0)]
    return picks


def _constant_pad(
    draft: Draft, node: ir.Node, source: ir.Value, ends: NDArray[np.int64], value: float
) -> None:
    """Cut off what is negative, pad with zeros, and add another number where the zeros stand."""
    shape = list(shape_of(source) or ())
    cut, more = np.maximum(-ends, 0), np.maximum(ends, 0)
    if cut.any():
        axes = np.flatnonzero(cut.any(axis=0))
        starts, stops = cut[0, axes], [(shape[axis] or 0) - cut[1, axis] for axis in axes]
        for axis in axes:
            shape[axis] = (shape[axis] or 0) - int(cut[:, axis].sum())
        bounds = [
            draft.numbers(node, what, np.array(at))
            for what, at in (("starts", starts), ("ends", stops), ("axes", axes))
        ]
        source = draft.add("Slice", [source, *bounds], node, "cut", shape=shape)
    inner = shape
    if more.any():
        shape = [
            size if size is None else size + int(more[:, axis].sum())
            for axis, size in enumerate(shape)
        ]
        pads = draft.numbers(node, "pads", more.reshape(-1))
        source = draft.add("Pad", [source, pads], node, "padded", shape=shape)
    if value and more.any():
        source = draft.add(
            "Add",
            [source, draft.reals(node, "border", _border(inner, more, value))],
            node,
            "filled",
            shape=shape,
        )
    draft.finish(node, source)


def _border(
    inner: Sequence[int | None], more: NDArray[np.int64], value: float
) -> NDArray[np.float32]:
    """A number where padding stands, and zero within.

    Along the batch, which is not padded, of one.
    """
    within = np.zeros(
        [1 if not more[:, axis].any() else size or 1 for axis, size in enumerate(inner)], np.float32
    )
    return np.pad(
        within, list(zip(more[0], more[1], strict=True)), constant_values=np.float32(value)
    )


def _tile(draft: Draft, node: ir.Node) -> None:
    source, known, repeats = node.inputs[0], _known(node), constant(argument(node, 1))
    if source is None or known is None or repeats is None:
        return
    before, times = known[0], [int(each) for each in repeats.reshape(-1)]
    if any(before[axis] is None for axis, each in enumerate(times) if each != 1):
        return
    picks = {
        axis: np.tile(np.arange(before[axis] or 0), each)
        for axis, each in enumerate(times)
        if each != 1
    }
    if picks:
        draft.finish(node, pick(draft, node, source, picks))
    else:
        _forget(draft, node)


def _expand(draft: Draft, node: ir.Node) -> None:
    """Repeats of a dimension of one.

    Left to the operators that read it where they broadcast, else picked again.
    """
    source, known = node.inputs[0], _known(node)
    if source is None or known is None or constant(source) is not None:
        return
    before, after = known
    if len(before) < len(after):
        before = [*[1] * (len(after) - len(before)), *before]
        if before[0] is None or shape_of(source) == () or any(size is None for size in before[1:]):
            return
        source = draft.reshape(source, before, node, "aligned")
    wider = [axis for axis, (old, new) in enumerate(zip(before, after, strict=True)) if old != new]
    if _broadcast_anyway(node, after):
        draft.take_over(output(node), source)
        draft.graph.remove(node, safe=True)
    elif not any(after[axis] is None for axis in wider):
        draft.finish(
            node, pick(draft, node, source, {axis: [0] * (after[axis] or 0) for axis in wider})
        )


def _broadcast_anyway(node: ir.Node, after: Sequence[int | None]) -> bool:
    """Whether all that read an Expand stretch it by themselves to what their other operand is."""
    made = output(node)
    uses = list(made.uses())
    return (
        bool(uses)
        and not made.is_graph_output()
        and all(_stretches(user, index, list(after)) for user, index in uses)
    )


def _stretches(user: ir.Node, index: int, after: list[int | None]) -> bool:
    other = user.inputs[1 - index] if user.op_type in _BROADCASTING else None
    return (
        other is not None
        and other is not user.inputs[index]
        and list(shape_of(other) or ()) == after
    )


def _concat(draft: Draft, node: ir.Node) -> None:
    """Constants that are joined to activations: zeros are padding; others are added to it."""
    shapes = [shape_of(value) for value in node.inputs]
    constants = [_constant_part(value) for value in node.inputs]
    rank = len(shapes[0] or ())
    if (
        all(part is None for part in constants)
        or any(shape is None for shape in shapes)
        or not rank
    ):
        return
    axis = integer(node, "axis", 0) % rank
    places = [i for i, part in enumerate(constants) if part is None]
    if not places or places != list(range(places[0], places[-1] + 1)) or axis == 0:
        return
    sizes = [shape[axis] for shape in shapes if shape is not None]
    if None in sizes or any(
        part is not None and part.shape[0] != 1 and (shapes[places[0]] or (0,))[0] is None
        for part in constants
    ):
        return
    before, after = (
        sum(size or 0 for size in sizes[part])
        for part in (slice(places[0]), slice(places[-1] + 1, None))
    )
    kept, whole = [node.inputs[i] for i in places], list(shape_of(output(node)) or ())
    source = kept[0]
    if len(kept) > 1:
        inner = [*whole[:axis], sum(sizes[i] or 0 for i in places), *whole[axis + 1 :]]
        source = draft.add(
            "Concat", kept, node, "activations", shape=inner, attributes={"axis": axis}
        )
    ends = np.zeros((2, rank), np.int64)
    ends[:, axis] = before, after
    padded = draft.add(
        "Pad", [source, draft.numbers(node, "pads", ends.reshape(-1))], node, "padded", shape=whole
    )
    parts = [
        part if part is not None else np.zeros((1, *(1,) * (rank - 1)), np.float32)
        for part in constants
    ]
    if any(part.any() for part in parts):
        full = [1 if size is None else size for size in whole]
        stretched = [
            np.broadcast_to(part, [*full[:axis], sizes[i] or 0, *full[axis + 1 :]])
            for i, part in enumerate(parts)
        ]
        values = np.concatenate(stretched, axis)
        padded = draft.add(
            "Add", [padded, draft.reals(node, "constants", values)], node, "sum", shape=whole
        )
    draft.finish(node, padded)


def _constant_part(value: ir.Value | None) -> NDArray[np.float32] | None:
    """A constant, seen through an Expand of it along the batch."""
    node = value.producer() if value is not None else None
    if node is not None and node.op_type == "Expand":
        value = node.inputs[0]
    array = constant(value)
    return None if array is None else array.astype(np.float32)


def _sum(draft: Draft, node: ir.Node) -> None:
    """A sum of several is several sums."""
    if len(node.inputs) == 1:
        _forget(draft, node)
        return
    if any(shape_of(value) != shape_of(output(node)) for value in node.inputs):
        return
    total = node.inputs[0]
    for value in node.inputs[1:]:
        total = draft.add("Add", [total, value], node, "sum")
    if total is not None:
        draft.finish(node, total)


def _scatter(draft: Draft, node: ir.Node) -> None:
    """A block written into a tensor, such as a part of a state, between what is kept of that."""
    data, indices, block = node.inputs[:3]
    shape, places = shape_of(data), constant(indices)
    if (
        data is None
        or block is None
        or shape is None
        or None in shape
        or places is None
        or text(node, "reduction", "none") != "none"
    ):
        return
    sizes = [size or 0 for size in shape]
    found = _written(sizes, places, shape_of(block))
    if found is None:
        return
    axis, start, stop = found
    region = [stop - start if i == axis else size for i, size in enumerate(sizes)]
    inside = block if shape_of(block) == tuple(region) else draft.reshape(block, region, node, "in")
    parts = [
        *_between(draft, node, data, axis, 0, start),
        inside,
        *_between(draft, node, data, axis, stop, sizes[axis]),
    ]
    whole = (
        inside
        if len(parts) == 1
        else draft.add("Concat", parts, node, "scattered", attributes={"axis": axis})
    )
    draft.finish(node, whole)


def _between(
    draft: Draft, node: ir.Node, data: ir.Value, axis: int, start: int, end: int
) -> list[ir.Value]:
    """The places from one to another along an axis; none where there are none."""
    if start == end:
        return []
    what = "before" if start == 0 else "behind"
    bounds = [draft.numbers(node, f"{what}_{name}", [at]) for name, at in _slice(start, end, axis)]
    shape = list(shape_of(data) or ())
    shape[axis] = end - start
    return [draft.add("Slice", [data, *bounds], node, what, shape=shape)]


def _written(
    sizes: Sequence[int], indices: NDArray[np.generic], block: tuple[int | None, ...] | None
) -> tuple[int, int, int] | None:
    """Axis, first place and end of the block that a ScatterND writes; None for no such block."""
    if block is None or None in block:
        return None
    numbers = np.arange(int(np.prod([size or 0 for size in block]))).reshape(
        [size or 0 for size in block]
    )
    places = np.full(sizes, -1)
    try:
        places[tuple(np.moveaxis(indices.astype(np.int64), -1, 0))] = numbers
    except (IndexError, ValueError):
        return None
    for axis, size in enumerate(sizes):
        lines = np.moveaxis(places, axis, 0).reshape(size, -1)
        hit = np.flatnonzero((lines >= 0).all(axis=1))
        if not hit.size or hit[-1] - hit[0] + 1 != hit.size or (lines >= 0).sum() != numbers.size:
            continue
        start, stop = int(hit[0]), int(hit[-1]) + 1
        region = places.take(range(start, stop), axis)
        if region.size == numbers.size and np.array_equal(region.reshape(-1), numbers.reshape(-1)):
            return axis, start, stop
    return None


def _gather_nd(draft: Draft, node: ir.Node) -> None:
    """Places along the first axis alone, as torch writes ``x[index]``."""
    source, places = node.inputs[0], constant(argument(node, 1))
    if (
        source is None
        or places is None
        or places.ndim < 2
        or places.shape[-1] != 1
        or integer(node, "batch_dims", 0)
    ):
        return
    indices = draft.numbers(node, "places", places[..., 0].astype(np.int64))
    draft.finish(
        node, draft.add("Gather", [source, indices], node, "picked", attributes={"axis": 0})
    )


_REWRITES: Mapping[str, Callable[[Draft, ir.Node], None]] = {
    "Cast": _cast,
    "Concat": _concat,
    "Expand": _expand,
    "GatherND": _gather_nd,
    "Pad": _pad,
    "ScatterND": _scatter,
    "Slice": _slice_of_part,
    "Split": _split,
    "Sum": _sum,
    "Tile": _tile,
}
