"""Resize by factors and over all axes.

What integer kernels cannot sample is a product with a constant matrix for each axis.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import onnx_ir as ir

from edgeq.calibration._nodes import (
    argument,
    constant,
    floats,
    help_only,
    ints,
    output,
    shape_of,
    text,
)
from edgeq.formats.onnx_session import Opening, RuntimeFailed, open_graph
from edgeq.numerics.sampling import convention_of, is_plain, mode_of, points_of
from edgeq.qdq.attributes import attributes_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from edgeq.calibration.normal_form.draft import Draft

_LARGEST = 2**20  # elements of a matrix
_NONE = np.zeros(0, np.float32)


def plain_resizes(draft: Draft) -> None:
    """Give each Resize factors for all axes instead of sizes or named axes, in place."""
    for node in tuple(draft.graph):
        if node.domain == "" and node.op_type == "Resize":
            _by_factors(draft, node)


def resizes_as_products(draft: Draft) -> None:
    """Write in place each Resize that no integer kernel computes as products with constants."""
    for node in tuple(draft.graph):
        if node.domain == "" and node.op_type == "Resize" and not is_sampled(node):
            _as_products(draft, node)


def is_sampled(node: ir.Node) -> bool:
    """Whether integer kernels have a Resize.

    By picking pixels, or by interpolation at points that theirs hit.
    """
    before, after = shape_of(node.inputs[0]), shape_of(output(node))
    if (
        before is None
        or after is None
        or None in (*before[1:], *after[1:])
        or floats(node, 2) is None
    ):
        return False
    attributes = attributes_of(node, [size or 1 for size in before])
    if not is_plain(attributes):
        return False
    points = [
        points_of(attributes, axis, old or 1, new or 1)
        for axis, (old, new) in enumerate(zip(before, after, strict=True))
    ]
    if any(point is None for point in points) or mode_of(attributes) == "tf_half_pixel_for_nn":
        return False
    if text(node, "mode", "nearest") == "nearest":
        return True
    plain = (
        text(node, "mode", "nearest") == "linear" and len(before) == 4 and before[:2] == after[:2]
    )
    axes = [
        (point, old or 1, new or 1)
        for point, old, new in zip(points, before, after, strict=True)
        if point is not None
    ]
    return plain and convention_of(axes[2:]) is not None


def _by_factors(draft: Draft, node: ir.Node) -> None:
    before, after = shape_of(node.inputs[0]), shape_of(output(node))
    if (
        before is None
        or after is None
        or None in (*before[1:], *after[1:])
        or before[0] != after[0]
    ):
        return
    axes = [axis % len(before) for axis in ints(node, "axes", list(range(len(before))))]
    given, sizes = floats(node, 2), argument(node, 3)
    if sizes is not None or len(axes) < len(before):
        factors = np.ones(len(before), np.float32)
        for axis in range(1, len(before)):
            factors[axis] = _factor(before[axis] or 1, after[axis] or 1)
        if given is not None and given.size == len(axes):
            factors[axes] = given
        if text(node, "coordinate_transformation_mode", "half_pixel") == "tf_crop_and_resize":
            return
        node.resize_inputs(3)
        draft.set_constant(node, 2, f"{node.name}_factors", factors)
        node.attributes.pop("axes", None)
        node.attributes.pop("keep_aspect_ratio_policy", None)


def _factor(before: int, after: int) -> np.float32:
    """A factor that gives a size when it is rounded down, as near to their ratio as float32 is."""
    factor = np.float32(after / before)
    return (
        factor
        if int(np.float32(before) * factor) == after
        else np.nextafter(factor, np.float32(np.inf))
    )


def _as_products(draft: Draft, node: ir.Node) -> None:
    """Each axis on its own: ``y = M x`` along it, M what the operator makes of unit vectors."""
    source, before, after = node.inputs[0], shape_of(node.inputs[0]), shape_of(output(node))
    if (
        source is None
        or before is None
        or after is None
        or None in (*before[1:], *after[1:])
        or constant(argument(node, 2)) is None
    ):
        return
    changed = [
        axis for axis, (old, new) in enumerate(zip(before, after, strict=True)) if old != new
    ]
    large = any((before[axis] or 1) * (after[axis] or 1) > _LARGEST for axis in changed)
    if (
        not changed
        or changed[0] < 2
        or large
        or len(before) > 4
        or text(node, "mode", "nearest") == "nearest"
    ):
        return
    shape = list(before)
    for axis in changed:
        matrix = _matrix(node, axis, before, after)
        if matrix is None:
            return
        order = [other for other in range(len(shape)) if other != axis] + [axis]
        turned = draft.add(
            "Transpose",
            [source],
            node,
            f"turned{axis}",
            shape=[shape[i] for i in order],
            attributes={"perm": order},
        )
        shape[axis] = after[axis]
        weights = draft.reals(node, f"weights{axis}", matrix)
        after_axis = [shape[i] for i in order]
        product = draft.add_node(
            "MatMul", [turned, weights], node, f"resized{axis}", shape=after_axis
        )
        help_only(product)
        back = [order.index(i) for i in range(len(shape))]
        source = draft.add(
            "Transpose",
            [output(product)],
            node,
            f"back{axis}",
            shape=shape,
            attributes={"perm": back},
        )
    draft.finish(node, source)


def _matrix(
    node: ir.Node, axis: int, before: Sequence[int | None], after: Sequence[int | None]
) -> NDArray[np.float32] | None:
    """(before, after): what the operator makes of unit vectors along an axis."""
    from onnx import TensorProto, helper, numpy_helper

    size, factors = before[axis] or 1, floats(node, 2)
    if factors is None or (argument(node, 1) is not None and constant(argument(node, 1)) is None):
        return None
    own = np.array([1, 1, 1, factors[axis]], np.float32)
    roi = floats(node, 1)
    crop = (
        np.array([0, 0, 0, roi[axis], 1, 1, 1, roi[axis + len(before)]], np.float32)
        if roi is not None and roi.size
        else _NONE
    )
    attributes = {name: ir.to_proto(attribute) for name, attribute in node.attributes.items()}
    resize = helper.make_node("Resize", ["x", "roi", "scales"], ["y"])
    resize.attribute.extend(attributes.values())
    graph = helper.make_graph(
        [resize],
        "axis",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 1, size, size])],
        [helper.make_empty_tensor_value_info("y")],
        [numpy_helper.from_array(crop, "roi"), numpy_helper.from_array(own, "scales")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)
    try:  # of two nodes of edgeq's own, but with attributes that anybody wrote
        session = open_graph(model.SerializeToString(), Opening(), ours=False)
        made = session.run((), {"x": np.eye(size, dtype=np.float32)[None, None]})[0][0, 0]
    except RuntimeFailed:
        return None  # what the runtime does not know is refused by its name
    return made if made.shape == (size, after[axis]) else None
