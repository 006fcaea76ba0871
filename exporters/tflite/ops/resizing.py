"""Resize, nearest or linear, where TFLite samples at the same points as ONNX.

Both are decided on numbers: the sampling points of the ONNX node are computed, and those of
TFLite's three conventions, and the convention is taken whose points are the same.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from edgeq.exporters.tflite.context import Op
from edgeq.exporters.tflite.file.layouts import NHWC
from edgeq.exporters.tflite.ops.gathering import gather
from edgeq.exporters.tflite.storage import activation, refused
from edgeq.formats.tflite_schema import schema
from edgeq.numerics.sampling import (
    BEARABLE,
    CONVENTIONS,
    FRACTION_BITS,
    Convention,
    convention_of,
    is_plain,
    mode_of,
    nearest,
    points_of,
)
from edgeq.qdq.ir import same_grid

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from edgeq.exporters.tflite.context import LoweringContext
    from edgeq.qdq.ir import QdqOp

_SPATIAL = (2, 3)


def lower_resize_nearest(op: QdqOp, context: LoweringContext) -> None:
    """Append a Resize to the nearest pixel: RESIZE_NEAREST_NEIGHBOR, or a GATHER for each axis."""
    source = context.operand(op)
    _check(op)
    wanted = [nearest(op.attributes, _points(op, axis)) for axis in range(len(source.shape))]
    wanted = [np.clip(indices, 0, source.shape[axis] - 1) for axis, indices in enumerate(wanted)]
    if (
        len(source.shape) == 4
        and _whole(wanted[0], source.shape[0])
        and _whole(wanted[1], source.shape[1])
    ):
        sizes = [(source.shape[axis], op.output.shape[axis]) for axis in _SPATIAL]
        for convention in CONVENTIONS:
            if all(
                np.array_equal(wanted[axis], _tflite_nearest(convention, *size))
                for axis, size in zip(_SPATIAL, sizes, strict=True)
            ):
                _write(
                    op,
                    context,
                    Op.RESIZE_NEAREST_NEIGHBOR,
                    schema.ResizeNearestNeighborOptionsT(),
                    convention,
                )
                return
    picks = {
        axis: tuple(int(i) for i in indices)
        for axis, indices in enumerate(wanted)
        if not _whole(indices, source.shape[axis])
    }
    gather(op, context, picks)


def lower_resize(op: QdqOp, context: LoweringContext) -> None:
    """Append a Resize that interpolates between pixels: RESIZE_BILINEAR."""
    source = context.operand(op)
    _check(op)
    mode = op.attributes.get("mode", "nearest")
    if mode != "linear" or len(source.shape) != 4 or op.output.shape[:2] != source.shape[:2]:
        raise refused(
            op,
            f"its mode is {mode}, over {len(source.shape)} dimensions",
            "resize images by mode nearest or linear",
        )
    if not context.is_float and not same_grid(source.params, op.output.params):
        raise refused(
            op,
            f"its input {source.name!r} and output {op.output.name!r} have different grids",
            "give it the grid of its input on both sides",
        )
    axes = [(_points(op, axis), source.shape[axis], op.output.shape[axis]) for axis in _SPATIAL]
    if (
        found := convention_of(axes, 2.0**-FRACTION_BITS if context.is_float else BEARABLE)
    ) is not None:
        _write(op, context, Op.RESIZE_BILINEAR, schema.ResizeBilinearOptionsT(), found)
        return
    raise refused(
        op,
        f"TFLite samples {source.shape[2:]} to {op.output.shape[2:]} beside the points of "
        f"{mode_of(op.attributes)}, "
        "by more than rounding hides",
        "resize by a power of two with half_pixel or asymmetric, or leave the resize out "
        "of the quantised model",
    )


def _check(op: QdqOp) -> None:
    if not is_plain(op.attributes):
        raise refused(
            op,
            "it crops, filters, or names its axes",
            "use a plain Resize by mode nearest or linear",
        )


def _points(op: QdqOp, axis: int) -> NDArray[np.float32]:
    """Where ONNX samples the input, for each output along an axis."""
    before, after = activation(op).shape[axis], op.output.shape[axis]
    points = points_of(op.attributes, axis, before, after)
    if points is None:
        raise refused(
            op,
            f"its coordinates are {mode_of(op.attributes)}",
            "use half_pixel, asymmetric or align_corners",
        )
    return points


def _whole(indices: Sequence[int] | NDArray[np.int64], size: int) -> bool:
    return np.array_equal(indices, np.arange(size))


def _tflite_nearest(convention: Convention, before: int, after: int) -> NDArray[np.int64]:
    """The pixels that RESIZE_NEAREST_NEIGHBOR picks, as its kernel computes them in float32."""
    corners = convention.align_corners and after > 1
    scale = (
        np.float32(before - 1) / np.float32(after - 1)
        if corners
        else np.float32(before) / np.float32(after)
    )
    offset = np.float32(0.5 if convention.half_pixel else 0.0)
    points = (np.arange(after, dtype=np.float32) + offset) * scale
    picked = np.floor(points + np.float32(0.5)) if convention.align_corners else np.floor(points)
    clipped: NDArray[np.int64] = np.clip(picked, 0, before - 1).astype(np.int64)
    return clipped


def _write(
    op: QdqOp, context: LoweringContext, builtin: int, options: Any, convention: Convention
) -> None:
    options.alignCorners, options.halfPixelCenters = convention.align_corners, convention.half_pixel
    sizes = context.builder.numbers(op.output.shape[2:])
    index = context.read(context.operand(op), NHWC)
    with context.writing(op, NHWC) as (target, _):
        context.builder.operator(
            builtin, 3 if convention.half_pixel else 2, [index, sizes], [target], options
        )
