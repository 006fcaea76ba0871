"""Means, sums and interpolation in float32, step by step as ONNX Runtime's CPU kernels take them.

A mean of two integers lies on a tie half of the time, so the float arithmetic decides, and is gone
through for every result.
"""

from __future__ import annotations

import math
import re
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from edgeq.numerics import sampling
from edgeq.targets.emulator.arithmetic.data_movement import Move
from edgeq.targets.emulator.arithmetic.dot import as_images
from edgeq.targets.emulator.arithmetic.formulas import quantized
from edgeq.targets.emulator.onnx.float_order import quads

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor

    from edgeq.targets.emulator.arithmetic.dot import SlidingWindow
    from edgeq.targets.emulator.onnx.op import OnnxOp

_LANES = 4
_AVERAGE_BY_TAPS = 19  # the operator set since which ONNX Runtime averages by a loop of its own
_VECTOR_STRIDE, _VECTOR_KERNEL = 2, 32  # up to which MLAS pools several results at once


def _real(op: OnnxOp, x: Tensor) -> Tensor:
    """Dequantised, float32."""
    return x * torch.tensor(float(op.grid(0).scale), dtype=torch.float32)


def _landed(op: OnnxOp, values: Tensor) -> Tensor:
    centered = quantized(values.numpy(), op.output_grid, op.output_range)
    return torch.from_numpy(centered).reshape(values.shape[0], *op.view.output.shape)


def average_pool(
    kernel: tuple[int, int], window: SlidingWindow, op: OnnxOp, *, counted: bool
) -> Move:
    """AveragePool: tap after tap since operator set 19.

    Before, columns of a window first, and whole images in four lanes.
    """
    in_vectors = (
        op.opset < _AVERAGE_BY_TAPS
        and window.stride[1] <= _VECTOR_STRIDE
        and max(kernel) <= _VECTOR_KERNEL
    )
    if op.opset < _AVERAGE_BY_TAPS and kernel == tuple(op.shape(0)[2:]) and not any(window.padding):
        return Move(
            lambda x: _landed(
                op, _global_mean(_real(op, x).reshape(x.shape[0], op.shape(0)[1], -1))
            )
        )

    def pooled(x: Tensor) -> Tensor:
        images = window.pad(as_images(_real(op, x), channels_last=False))
        count = window.pad(torch.ones(1, *images_shape(op)))
        taps = taps_of(images, kernel, window)
        columns = (
            [sum_of(column) for column in zip(*taps, strict=True)]
            if in_vectors
            else [tap for row in taps for tap in row]
        )
        total = sum_of(columns)
        divisor = (
            math.prod(kernel)
            if counted
            else sum_of([sum_of(row) for row in taps_of(count, kernel, window)])
        )
        return _landed(op, (total / divisor).reshape(x.shape[0], -1))

    return Move(pooled)


def images_shape(op: OnnxOp) -> tuple[int, ...]:
    """The channel, height and width of one plane of a pooling's input; a line is one pixel high."""
    return (1,) * (5 - len(op.shape(0))) + op.shape(0)[2:]


def taps_of(images: Tensor, kernel: tuple[int, int], window: SlidingWindow) -> list[list[Tensor]]:
    """The image as each tap of the window sees it, row by row."""
    spans = [(size - 1) * dilation for size, dilation in zip(kernel, window.dilation, strict=True)]
    high, wide = images.shape[2] - spans[0], images.shape[3] - spans[1]
    (down, across), (step_y, step_x) = window.dilation, window.stride
    return [
        [
            images[
                :, :, y * down : y * down + high : step_y, x * across : x * across + wide : step_x
            ]
            for x in range(kernel[1])
        ]
        for y in range(kernel[0])
    ]


def sum_of(terms: Any) -> Tensor:
    """One after the other, in float32."""
    total: Tensor | None = None
    for term in terms:
        total = term if total is None else total + term
    return torch.zeros(()) if total is None else total


def _global_mean(x: Tensor) -> Tensor:
    """Means over the last axis, by MLAS' global pooling.

    Four lanes, added across, then what is left.
    """
    size = x.shape[-1]
    whole = size // _LANES * _LANES
    lanes = (
        sum_of(x[..., i : i + _LANES] for i in range(0, whole, _LANES))
        if whole
        else torch.zeros(*x.shape[:-1], _LANES)
    )
    total = (lanes[..., 0] + lanes[..., 2]) + (lanes[..., 1] + lanes[..., 3])
    for i in range(whole, size):
        total = total + x[..., i]
    return total / size


def mean(axes: tuple[int, ...], op: OnnxOp, *, pooled: bool) -> Move:
    """GlobalAveragePool and ReduceMean."""
    count = math.prod(op.shape(0)[axis] for axis in axes)
    if pooled:
        return Move(
            lambda x: _landed(op, _global_mean(_real(op, x).reshape(x.shape[0], -1, count)))
        )
    return Move(lambda x: _landed(op, _reduced(_real(op, x), axes) / count))


def total(axes: tuple[int, ...], op: OnnxOp) -> Move:
    """ReduceSum."""
    return Move(lambda x: _landed(op, _reduced(_real(op, x), axes)))


def _reduced(x: Tensor, axes: tuple[int, ...]) -> Tensor:
    """Sums along axes as ONNX Runtime adds them.

    By runs of axes that are kept (K) or reduced (R), axes of one element left out.

    ``KR`` is Eigen's sum of a row, four lanes that start where memory is aligned; ``KRK`` a product
    with ones; others add in order.
    """
    kinds = "".join(
        "R" if axis - 1 in axes else "K" for axis in range(1, x.ndim) if x.shape[axis] > 1
    )
    runs = re.sub(r"(.)\1+", r"\1", kinds)
    kept = [axis for axis in range(1, x.ndim) if axis - 1 not in axes]
    rows = x.permute(0, *kept, *(axis + 1 for axis in axes)).reshape(
        x.shape[0], math.prod(x.shape[axis] for axis in kept), -1
    )
    if runs in ("KR", "R"):
        return torch.stack(
            [_aligned_sum(rows[:, i], i * rows.shape[2]) for i in range(rows.shape[1])], 1
        )
    taps = rows.permute(2, 0, 1)
    if runs == "KRK":
        flat = taps.reshape(len(taps), -1)
        return quads(flat, torch.ones(1), None, torch.zeros(0)).reshape(rows.shape[:2])
    return sum_of(taps)


def _aligned_sum(x: Tensor, offset: int) -> Tensor:
    """The sum of rows, (samples, terms), that lie ``offset`` numbers after an aligned place."""
    size = x.shape[1]
    start = min(-offset % _LANES, size)
    end = start + (size - start) // _LANES * _LANES
    if start == end:
        return sum_of(x.T)
    packets = [x[:, i : i + _LANES] for i in range(start, end, _LANES)]
    pairs = len(packets) // 2 * 2
    lanes = packets[0]
    if len(packets) > 1:
        lanes = sum_of(packets[0:pairs:2]) + sum_of(packets[1:pairs:2])
        lanes = lanes + packets[-1] if len(packets) > pairs else lanes
    total = (lanes[:, 0] + lanes[:, 2]) + (lanes[:, 1] + lanes[:, 3])
    for i in (*range(start), *range(end, size)):
        total = total + x[:, i]
    return total


# ---- resizing ------------------------------------------------------------------------------------


def points_of(op: OnnxOp, axis: int) -> NDArray[np.float32]:
    """Where ONNX samples the input, for each output along an axis."""
    attributes = op.view.attributes
    if not sampling.is_plain(attributes):
        raise op.refused("it crops, filters, or names its axes")
    points = sampling.points_of(attributes, axis, op.shape(0)[axis], op.view.output.shape[axis])
    if points is None:
        raise op.refused(f"its coordinates are {sampling.mode_of(attributes)}")
    return points


def nearest_of(op: OnnxOp, axis: int) -> NDArray[np.int64]:
    """The pixels that a Resize by mode nearest picks along an axis."""
    size = op.shape(0)[axis]
    if size == op.view.output.shape[axis]:
        return np.arange(size)
    return np.clip(sampling.nearest(op.view.attributes, points_of(op, axis)), 0, size - 1)


def bilinear(op: OnnxOp) -> Move:
    """Resize of images by mode linear.

    Four products, added in the order of ONNX Runtime's kernel.
    """
    if (
        op.view.attributes.get("mode") != "linear"
        or len(op.shape(0)) != 4
        or op.view.output.shape[:2] != op.shape(0)[:2]
    ):
        raise op.refused("its mode is not linear, or it is of no images")
    rows, columns = (_neighbours(op, axis) for axis in (2, 3))

    def interpolated(x: Tensor) -> Tensor:
        images = as_images(_real(op, x), channels_last=False)
        corners = [[images[:, :, y][:, :, :, z] for z in columns[:2]] for y in rows[:2]]
        (dy1, dy2), (dx1, dx2) = (part[2:] for part in (rows, columns))
        dy1, dy2 = dy1[:, None], dy2[:, None]
        (x11, x21), (x12, x22) = corners
        value = ((dx2 * dy2 * x11 + dx1 * dy2 * x21) + dx2 * dy1 * x12) + dx1 * dy1 * x22
        return _landed(op, value.reshape(x.shape[0], -1))

    return Move(interpolated)


def _neighbours(op: OnnxOp, axis: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """The pixels before and behind each point, and the distance to each of the two."""
    last = op.shape(0)[axis] - 1
    points = np.clip(points_of(op, axis), 0, np.float32(last))
    first = np.minimum(points.astype(np.int64), last)
    second = np.minimum(first + 1, last)
    near, far = (
        np.abs(points - first.astype(np.float32)),
        np.abs(points - second.astype(np.float32)),
    )
    same = first == second
    near[same] = far[same] = 0.5
    return (
        torch.from_numpy(first),
        torch.from_numpy(second),
        torch.from_numpy(near),
        torch.from_numpy(far),
    )
