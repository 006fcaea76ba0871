"""Norms over each sample in operators that integer kernels have.

``(x - mean) / sqrt(var + eps)`` is a mean, a difference, the mean of its square, a table for the
reciprocal of the root, and a product, each on a grid of its own. What follows, a factor and a shift
for each channel, is a layer of one tap or two operations with constants.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import onnx_ir as ir

from edgeq.calibration._nodes import (
    argument,
    floats,
    integer,
    ints,
    name_of,
    only_read_by,
    output,
    real,
    required,
    shape_of,
)
from edgeq.calibration.normal_form.draft import Draft

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from numpy.typing import NDArray

_AXES = [0, 2, 3]  # of a MeanVarianceNormalization that names none
_ADDED = 1e-9**2  # to the variance, where its definition adds 1e-9 to the root


def norms_as_means(draft: Draft) -> None:
    """Rewrite in place whatever can be; what cannot stays, to be refused by its name."""
    for node in tuple(draft.graph):
        rewrite = _REWRITES.get(node.op_type) if node.domain == "" else None
        if rewrite is not None:
            rewrite(draft, node)


def groups_as_instances(graph: ir.Graph) -> None:
    """Write each GroupNormalization as an InstanceNormalization of groups, in place.

    Before the shapes of a graph are known: onnx cannot infer that of a GroupNormalization.
    """
    draft = Draft(graph)
    for node in tuple(graph):
        if node.domain == "" and node.op_type == "GroupNormalization" and _is_constant(node):
            _group(draft, node)


def name_axes(graph: ir.Graph) -> None:
    """Write down the axes that MeanVarianceNormalization has by default, in place.

    Before the shapes of a graph are known: onnx cannot infer that of one without them.
    """
    for node in graph:
        if node.domain == "" and node.op_type == "MeanVarianceNormalization":
            node.attributes.setdefault("axes", ir.AttrInt64s("axes", _AXES))


def _group(draft: Draft, node: ir.Node) -> None:
    source, groups = argument(node, 0), integer(node, "num_groups", 1)
    size = ir.node("Shape", [source], name=f"{node.name}_size")
    output(size).name = draft.values.fresh(f"{name_of(output(node))}_size")
    draft.graph.insert_before(node, size)
    value = draft.add(
        "Reshape", [source, draft.numbers(node, "groups", [0, groups, -1])], node, "grouped"
    )
    ones, zeros = np.ones(groups), np.zeros(groups)
    value = draft.add(
        "InstanceNormalization",
        [value, draft.reals(node, "ones", ones), draft.reals(node, "zeros", zeros)],
        node,
        "normalized",
        attributes={"epsilon": real(node, "epsilon", 1e-5)},
    )
    value = draft.add("Reshape", [value, output(size)], node, "ungrouped")
    scale, shift = (required(node, index, what) for index, what in ((1, "scale"), (2, "bias")))
    value = draft.add(
        "Reshape", [value, draft.numbers(node, "flat", [0, len(scale), -1])], node, "flat"
    )
    value = draft.add("Mul", [value, draft.reals(node, "scale", scale[:, None])], node, "scaled")
    value = draft.add("Add", [value, draft.reals(node, "shift", shift[:, None])], node, "shifted")
    draft.finish(node, draft.add("Reshape", [value, output(size)], node, "result"))


def _over(
    draft: Draft, node: ir.Node, source: ir.Value, axes: Sequence[int], epsilon: float
) -> ir.Value:
    """A tensor less its mean over some axes, divided by its standard deviation."""
    shape = list(shape_of(source) or ())
    reduced = [1 if axis in axes else size for axis, size in enumerate(shape)]
    over = draft.numbers(node, "axes", np.array(axes))
    mean = draft.add(
        "ReduceMean", [source, over], node, "mean", shape=reduced, attributes={"keepdims": 1}
    )
    centered = draft.add("Sub", [source, mean], node, "centered", shape=shape)
    square = draft.add("Mul", [centered, centered], node, "square", shape=shape)
    variance = draft.add(
        "ReduceMean", [square, over], node, "variance", shape=reduced, attributes={"keepdims": 1}
    )
    kept = draft.add(
        "Add",
        [variance, draft.reals(node, "epsilon", np.array(epsilon))],
        node,
        "positive",
        shape=reduced,
    )
    root = draft.add("Sqrt", [kept], node, "root", shape=reduced)
    inverse = draft.add("Reciprocal", [root], node, "inverse", shape=reduced)
    return draft.add("Mul", [centered, inverse], node, "normalized", shape=shape)


def _finished(
    draft: Draft,
    node: ir.Node,
    value: ir.Value,
    scale: NDArray[np.float64] | None,
    shift: NDArray[np.float64] | None,
) -> None:
    """Times a factor and plus a shift, where they change anything, instead of a node."""
    shape = shape_of(output(node))
    if scale is not None and (scale != 1).any():
        value = draft.add(
            "Mul", [value, draft.reals(node, "scale", scale)], node, "scaled", shape=shape
        )
    if shift is not None and shift.any():
        value = draft.add(
            "Add", [value, draft.reals(node, "shift", shift)], node, "shifted", shape=shape
        )
    draft.finish(node, value)


def _parameters(node: ir.Node) -> tuple[NDArray[np.float64] | None, NDArray[np.float64] | None]:
    return floats(node, 1), floats(node, 2)


def _is_constant(node: ir.Node) -> bool:
    return all(argument(node, index) is None or floats(node, index) is not None for index in (1, 2))


def _instance(draft: Draft, node: ir.Node) -> None:
    source, shape = argument(node, 0), shape_of(argument(node, 0))
    if source is None or shape is None or None in shape[1:] or not _is_constant(node):
        return
    axes = list(range(2, len(shape)))
    normalized = _over(draft, node, source, axes, real(node, "epsilon", 1e-5))
    _finished(draft, node, normalized, *_by_channel(node, len(shape)))


def _by_channel(
    node: ir.Node, rank: int
) -> tuple[NDArray[np.float64] | None, NDArray[np.float64] | None]:
    """Scale and shift of each channel, which stand at axis 1."""
    found = [
        None if each is None else each.reshape(1, -1, *[1] * (rank - 2))
        for each in _parameters(node)
    ]
    return found[0], found[1]


def _mean_variance(draft: Draft, node: ir.Node) -> None:
    """What is normalised over all samples of a batch stays, unless there is only one."""
    source, shape = argument(node, 0), shape_of(argument(node, 0))
    if source is None or shape is None or None in shape[1:]:
        return
    axes = {axis % len(shape) for axis in ints(node, "axes", _AXES)}
    if 0 not in axes or shape[0] == 1:
        draft.finish(node, _over(draft, node, source, sorted(axes - {0}), _ADDED))


def _layer(draft: Draft, node: ir.Node) -> None:
    source, shape = argument(node, 0), shape_of(argument(node, 0))
    if source is None or shape is None or None in shape[1:] or not _is_constant(node):
        return
    if any(value.uses() for value in node.outputs[1:]):
        return
    first = integer(node, "axis", -1) % len(shape)
    axes = list(range(first, len(shape)))
    normalized = _over(draft, node, source, axes, real(node, "epsilon", 1e-5))
    scale, shift = _parameters(node)
    if len(axes) == 1 and _only_multiplied(node):
        for reader in [user for user, _ in output(node).uses()]:
            _into_product(draft, reader, normalized, scale, shift)
        draft.graph.remove(node, safe=True)
    else:
        _finished(draft, node, normalized, scale, shift)


def _only_multiplied(node: ir.Node) -> bool:
    """Whether only products with constant matrices read a result."""
    made = output(node)
    return only_read_by(
        made,
        lambda user: (
            user.op_type == "MatMul"
            and user.inputs[0] is made
            and (weight := floats(user, 1)) is not None
            and weight.ndim == 2
        ),
    )


def _into_product(
    draft: Draft,
    node: ir.Node,
    value: ir.Value,
    scale: NDArray[np.float64] | None,
    shift: NDArray[np.float64] | None,
) -> None:
    """``(scale * x + shift) W`` as ``x W' + b``."""
    weight = required(node, 1, "weight")
    scaled = weight if scale is None else weight * scale.reshape(-1, 1)
    product = draft.add("MatMul", [value, draft.reals(node, "weight", scaled)], node, "product")
    if shift is not None and shift.any():
        added = draft.reals(node, "shift", shift.reshape(-1) @ weight)
        product = draft.add("Add", [product, added], node, "shifted")
    draft.finish(node, product)


_REWRITES: Mapping[str, Callable[[Draft, ir.Node], None]] = {
    "InstanceNormalization": _instance,
    "LayerNormalization": _layer,
    "MeanVarianceNormalization": _mean_variance,
}
