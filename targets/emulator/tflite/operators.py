"""The table of TFLite operators that the emulator knows, and how each is set up."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from edgeq.numerics.multipliers import convolution_multipliers, dense_multipliers, mean_multiplier
from edgeq.targets.emulator.arithmetic import data_movement
from edgeq.targets.emulator.arithmetic.accumulator import Accumulator, Operands, largest_sum
from edgeq.targets.emulator.arithmetic.dot import (
    Convolution,
    Dense,
    Finish,
    Product,
    SlidingWindow,
    TransposedConvolution,
)
from edgeq.targets.emulator.arithmetic.numerics import Factors, step_of
from edgeq.targets.emulator.tflite import elementwise as tflite_elementwise
from edgeq.targets.emulator.tflite.op import KernelSetup, centered_of, output_range_of
from edgeq.targets.emulator.tflite.windows import axes_of, cut_off, window_of

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from numpy.typing import NDArray
    from torch import Tensor

    from edgeq.numerics.multipliers import Multiplier
    from edgeq.targets.emulator.hardware.machine import HardwareProfile, Rounding
    from edgeq.targets.emulator.program import StepKernel
    from edgeq.targets.emulator.tflite.op import TfliteOp

_WIDEST_ONCE = 2**32  # of a sum that is multiplied by 31 bits at once
_BYTE = 8
_NARROW_SUM, _WIDE_SUM = 32, 64  # bits of the accumulators of kernels for 8 and for 16 bits


# ---- sums of products ----------------------------------------------------------------------------


def _summing(profile: HardwareProfile, *, wide: bool) -> HardwareProfile:
    """The machine for sums: kernels of 16 bits add in 64 where those of 8 add in 32."""
    if not wide or profile.accumulator_bits != _NARROW_SUM:
        return profile
    return replace(profile, accumulator_bits=_WIDE_SUM)


def _weighted(
    op: TfliteOp,
    centered: NDArray[Any],
    multipliers: list[Multiplier],
    rounding: Rounding,
    source: int,
    bias: int,
) -> tuple[Tensor, Tensor | None, Accumulator, Finish]:
    """Weights, (out, …), and bias in the type of the accumulator; the accumulator.

    And how sums end.
    """
    weights = torch.from_numpy(np.ascontiguousarray(centered))
    given = op.file.inputs[bias] if len(op.file.inputs) > bias else None
    start = (
        None if given is None else torch.from_numpy(op.numbers(bias).astype(np.float64).reshape(-1))
    )
    operands = Operands(weights.movedim(1, -1).flatten(1), op.range(source))
    wide = given is not None and given.kind == "INT64"
    accumulator = Accumulator.of(
        op.name,
        _summing(op.profile, wide=wide),
        largest_sum(weights, start, op.range(source).largest),
        operands,
    )
    if wide and rounding == "single-half-away" and accumulator.largest >= _WIDEST_ONCE:
        raise op.refused("its sums need more than 32 bits")
    finish = Finish(
        Factors.fixed(multipliers),
        output_range_of(op),
        "wide" if wide and rounding != "single-half-away" else rounding,
    )
    return (
        weights.to(accumulator.dtype),
        None if start is None else start.to(accumulator.dtype),
        accumulator,
        finish,
    )


def _conv(op: TfliteOp) -> KernelSetup:
    depthwise = op.file.name == "DEPTHWISE_CONV_2D"
    filters = op.operand(1)
    centered = op.centered(1).transpose((3, 0, 1, 2) if depthwise else (0, 3, 1, 2))
    factors = convolution_multipliers(step_of(op.grid(0)), filters.scale, step_of(op.output_grid))
    weights, bias, accumulator, finish = _weighted(op, centered, factors, op.profile.rounding, 0, 2)
    options, (_, height, width, channels) = op.file.options, op.operand(0).shape
    kernel, dilation = (
        (centered.shape[2], centered.shape[3]),
        (int(options.dilationHFactor), int(options.dilationWFactor)),
    )
    groups = channels // centered.shape[1]
    window = window_of(op, (height, width), kernel, dilation, groups)
    if not depthwise or op.profile.rounding == "half-even":
        weights = weights.contiguous(memory_format=torch.channels_last)
    macs = math.prod(op.file.output.shape) * math.prod(centered.shape[1:])
    kernel_ = Convolution(
        weights, bias, window, channels_last=True, accumulator=accumulator, finish=finish
    )
    return KernelSetup((0,), kernel_, "dot", macs, centered.size, _bits(centered))


def _transposed(op: TfliteOp) -> KernelSetup:
    filters = op.operand(1)
    centered = op.centered(1).transpose(0, 3, 1, 2)[:, :, ::-1, ::-1].copy()
    factors = convolution_multipliers(step_of(op.grid(2)), filters.scale, step_of(op.output_grid))
    weights, bias, accumulator, finish = _weighted(op, centered, factors, op.profile.rounding, 2, 3)
    before, taps = op.operand(2).shape, (centered.shape[2], centered.shape[3])
    cut = cut_off(op, taps)
    top, left, bottom, right = cut.padding
    # what the spread image needs around it for the turned filters to reach every place
    around = (taps[0] - 1 - top, taps[1] - 1 - left, taps[0] - 1 - bottom, taps[1] - 1 - right)
    window = SlidingWindow(padding=around)
    inner = Convolution(
        weights, bias, window, channels_last=True, accumulator=accumulator, finish=finish
    )
    macs = math.prod(before) * math.prod(centered.shape) // centered.shape[1]
    return KernelSetup(
        (2,), TransposedConvolution(inner, cut.stride), "dot", macs, centered.size, _bits(centered)
    )


def _dense(op: TfliteOp) -> KernelSetup:
    filters = op.operand(1)
    centered = op.centered(1)
    factors = dense_multipliers(step_of(op.grid(0)), filters.scale, step_of(op.output_grid))
    weights, bias, accumulator, finish = _weighted(
        op, centered, factors, op.profile.dense_rounding, 0, 2
    )
    shape = op.file.output.shape
    kernel = Dense(weights, bias, accumulator, finish, shape)
    return KernelSetup(
        (0,), kernel, "dot", math.prod(shape) * centered.shape[1], centered.size, _bits(centered)
    )


def _product(op: TfliteOp) -> KernelSetup:
    options, shape = op.file.options, op.file.output.shape
    transposed = (bool(options.adjX), bool(options.adjY))
    taps = op.operand(0).shape[-2 if transposed[0] else -1]
    largest = taps * op.range(0).largest * op.range(1).largest
    accumulator = Accumulator.of(op.name, _summing(op.profile, wide=op.is_wide()), largest)
    (factor,) = convolution_multipliers(
        step_of(op.grid(0)), np.atleast_1d(op.grid(1).scale), step_of(op.output_grid)
    )
    finish = Finish(
        Factors.fixed([factor]),
        output_range_of(op),
        "wide" if op.is_wide() else op.profile.rounding,
    )
    return KernelSetup(
        (0, 1), Product(transposed, accumulator, finish, shape), "dot", math.prod(shape) * taps
    )


def _bits(centered: NDArray[Any]) -> int:
    """The width that weights need."""
    return int(max(centered.max(initial=0), -centered.min(initial=0) - 1)).bit_length() + 1


# ---- windows and means ---------------------------------------------------------------------------


def _pool(op: TfliteOp) -> KernelSetup:
    options, output_range, params = op.file.options, output_range_of(op), op.grid(0)
    kernel = (int(options.filterHeight), int(options.filterWidth))
    _, height, width, _ = op.operand(0).shape
    window, shape = window_of(op, (height, width), kernel, (1, 1)), op.file.output.shape
    if op.file.name == "MAX_POOL_2D":
        move = data_movement.max_pool(
            kernel, window, shape, channels_last=True, low=output_range.low, high=output_range.high
        )
    else:
        zero = int(params.zero_point)
        move = data_movement.average_pool(
            kernel,
            window,
            shape,
            channels_last=True,
            zero_point=zero,
            low=output_range.low,
            high=output_range.high,
        )
    return KernelSetup((0,), move, "pool")


def _mean(op: TfliteOp) -> KernelSetup:
    axes = axes_of(op, 1)
    count = math.prod(op.operand(0).shape[axis] for axis in axes)
    factor = mean_multiplier(step_of(op.grid(0)), step_of(op.output_grid), count)
    finish = Finish(Factors.fixed([factor]), output_range_of(op), op.profile.rounding)
    return KernelSetup((0,), data_movement.mean(axes, op.file.output.shape, finish), "pool")


def _greatest(op: TfliteOp) -> KernelSetup:
    return KernelSetup((0,), data_movement.greatest(axes_of(op, 1), op.file.output.shape), "pool")


def _argmax(op: TfliteOp) -> KernelSetup:
    (axis,) = axes_of(op, 1)
    shape = op.file.output.shape

    def place(x: Tensor) -> Tensor:
        """The first of equal ones, which torch does not promise."""
        is_greatest = (x == x.amax(axis + 1, keepdim=True)).to(torch.int8)
        return is_greatest.argmax(axis + 1).reshape(x.shape[0], *shape)

    return KernelSetup((0,), data_movement.Move(place), "move")


# ---- data that only moves ------------------------------------------------------------------------


def _reshape(op: TfliteOp) -> KernelSetup:
    return KernelSetup((0,), data_movement.reshape(op.file.output.shape), "move")


def _transpose(op: TfliteOp) -> KernelSetup:
    return KernelSetup((0,), data_movement.transpose([int(axis) for axis in op.numbers(1)]), "move")


def _pad(op: TfliteOp) -> KernelSetup:
    amounts = [(int(before), int(after)) for before, after in op.numbers(1)]
    value = float(op.centered(2).item()) if op.file.name == "PADV2" else 0.0
    return KernelSetup((0,), data_movement.pad(amounts, value), "move")


def _slice(op: TfliteOp) -> KernelSetup:
    begin, size = op.numbers(1), op.numbers(2)
    parts = [
        slice(int(b), None if s < 0 else int(b) + int(s)) for b, s in zip(begin, size, strict=True)
    ]
    return KernelSetup((0,), data_movement.cut(parts, op.file.output.shape), "move")


def _strided_slice(op: TfliteOp) -> KernelSetup:
    options, parts = op.file.options, []
    if options.ellipsisMask or options.newAxisMask or getattr(options, "offset", False):
        raise op.refused("it inserts axes")
    for i, (begin, end, step) in enumerate(
        zip(*(op.numbers(position) for position in (1, 2, 3)), strict=True)
    ):
        first, last = (
            (int(begin), int(begin) + 1 or None)
            if options.shrinkAxisMask >> i & 1
            else (int(begin), int(end))
        )
        parts.append(
            slice(
                None if options.beginMask >> i & 1 else first,
                None if options.endMask >> i & 1 else last,
                int(step),
            )
        )
    return KernelSetup((0,), data_movement.cut(parts, op.file.output.shape), "move")


def _concatenation(op: TfliteOp) -> KernelSetup:
    axis = int(op.file.options.axis) % len(op.file.output.shape)
    return KernelSetup(tuple(range(len(op.file.inputs))), data_movement.concatenate(axis), "move")


def _gather(op: TfliteOp) -> KernelSetup:
    """Constant picks; or, from a constant table, picks that were computed."""
    if int(op.file.options.batchDims or 0):
        raise op.refused("it gathers by batch")
    source, indices, axis = op.operand(0), op.operand(1), int(op.file.options.axis or 0)
    if indices.data is not None:
        return KernelSetup(
            (0,),
            data_movement.gather(
                torch.from_numpy(indices.data.astype(np.int64)), axis % len(source.shape)
            ),
            "move",
        )
    if source.data is None or axis:
        raise op.refused("it picks what is computed at run time, or not rows of a table")
    table = torch.from_numpy(centered_of(source))
    return KernelSetup(
        (1,),
        data_movement.Move(lambda ids: table[ids.to(torch.int64)]),
        "table",
        weights=table.numel(),
        weight_bits=source.data.itemsize * _BYTE,
    )


def _nearest(op: TfliteOp) -> KernelSetup:
    before, after, options = op.operand(0).shape, op.file.output.shape, op.file.options
    picks = [torch.from_numpy(_nearest_of(options, before[axis], after[axis])) for axis in (1, 2)]
    return KernelSetup(
        (0,),
        data_movement.Move(lambda x: x.index_select(2, picks[0]).index_select(3, picks[1])),
        "move",
    )


def _nearest_of(options: Any, before: int, after: int) -> NDArray[np.int64]:
    """The pixels that the kernel picks along an axis, computed in float32 as there."""
    corners = options.alignCorners and after > 1
    scale = (
        np.float32(before - 1) / np.float32(after - 1)
        if corners
        else np.float32(before) / np.float32(after)
    )
    points = (
        np.arange(after, dtype=np.float32) + np.float32(0.5 if options.halfPixelCenters else 0.0)
    ) * scale
    picked = np.floor(points + np.float32(0.5)) if options.alignCorners else np.floor(points)
    clipped: NDArray[np.int64] = np.clip(picked, 0, before - 1).astype(np.int64)
    return clipped


def _bilinear(op: TfliteOp) -> KernelSetup:
    before, after, options = op.operand(0).shape, op.file.output.shape, op.file.options
    rows, columns = (
        torch.from_numpy(_weights_of(options, before[axis], after[axis])) for axis in (1, 2)
    )
    zero, output_range = int(op.grid(0).zero_point), output_range_of(op)

    def interpolated(x: Tensor) -> Tensor:
        sums = torch.einsum("yh,bnhwc,xw->bnyxc", rows, x.to(torch.float64) + zero, columns)
        rounded = torch.trunc((sums + torch.where(sums > 0, 2.0**19, -(2.0**19))) / 2.0**20)
        return (rounded - zero).clamp_(output_range.low, output_range.high).to(torch.float32)

    return KernelSetup((0,), data_movement.Move(interpolated), "pool", math.prod(after) * 4)


def _weights_of(options: Any, before: int, after: int) -> NDArray[np.float64]:
    """What each pixel counts for each result along an axis, in 1024ths: (after, before)."""
    one = 1 << 10
    corners = options.alignCorners and after > 1
    step = (
        (one * (before - 1) + (after - 1) // 2) // (after - 1)
        if corners
        else (one * before + after // 2) // after
    )
    weights = np.zeros((after, before))
    for i in range(after):
        at = i * step + (step // 2 - one // 2 if options.halfPixelCenters else 0)
        lower, upper = (
            max(at // one if at >= 0 else 0, 0),
            min(max(at + one - 1, 0) // one, before - 1),
        )
        weights[i, lower] += one - (at - one * lower)
        weights[i, upper] += at - one * lower
    return weights


def _of(
    function: Callable[[TfliteOp], StepKernel],
    kind: Any = "elementwise",
    data: tuple[int, ...] = (0,),
) -> Callable[[TfliteOp], KernelSetup]:
    return lambda op: KernelSetup(data, function(op), kind)


def _depth_to_space(op: TfliteOp) -> KernelSetup:
    return KernelSetup(
        (0,),
        data_movement.depth_to_space(int(op.file.options.blockSize), channels_last=True),
        "move",
    )


def _space_to_depth(op: TfliteOp) -> KernelSetup:
    return KernelSetup(
        (0,),
        data_movement.space_to_depth(int(op.file.options.blockSize), channels_last=True),
        "move",
    )


KERNELS: Mapping[str, Callable[[TfliteOp], KernelSetup]] = {
    "ADD": _of(tflite_elementwise.total, data=(0, 1)),
    "ARG_MAX": _argmax,
    "AVERAGE_POOL_2D": _pool,
    "BATCH_MATMUL": _product,
    "CAST": _of(tflite_elementwise.cast, "move"),
    "CONCATENATION": _concatenation,
    "CONV_2D": _conv,
    "DEPTHWISE_CONV_2D": _conv,
    "DEPTH_TO_SPACE": _depth_to_space,
    "DEQUANTIZE": _of(tflite_elementwise.dequantize, "float"),
    "EXPAND_DIMS": _reshape,
    "FULLY_CONNECTED": _dense,
    "GATHER": _gather,
    "GELU": _of(tflite_elementwise.gelu, "table"),
    "HARD_SWISH": _of(tflite_elementwise.hard_swish),
    "LEAKY_RELU": _of(tflite_elementwise.leaky_relu),
    "LOGISTIC": _of(tflite_elementwise.logistic),
    "LOG_SOFTMAX": _of(tflite_elementwise.log_softmax),
    "MAXIMUM": _of(tflite_elementwise.extreme, data=(0, 1)),
    "MAX_POOL_2D": _pool,
    "MEAN": _mean,
    "MINIMUM": _of(tflite_elementwise.extreme, data=(0, 1)),
    "MUL": _of(tflite_elementwise.product, data=(0, 1)),
    "PAD": _pad,
    "PADV2": _pad,
    "PRELU": _of(tflite_elementwise.prelu, data=(0, 1)),
    "QUANTIZE": _of(tflite_elementwise.quantize),
    "REDUCE_MAX": _greatest,
    "RELU": _of(tflite_elementwise.relu),
    "RELU6": _of(tflite_elementwise.relu),
    "RESHAPE": _reshape,
    "RESIZE_BILINEAR": _bilinear,
    "RESIZE_NEAREST_NEIGHBOR": _nearest,
    "SLICE": _slice,
    "SOFTMAX": _of(tflite_elementwise.softmax),
    "SPACE_TO_DEPTH": _space_to_depth,
    "SQUEEZE": _reshape,
    "STRIDED_SLICE": _strided_slice,
    "SUB": _of(tflite_elementwise.total, data=(0, 1)),
    "TANH": _of(tflite_elementwise.tanh),
    "TRANSPOSE": _transpose,
    "TRANSPOSE_CONV": _transposed,
}
"""Every operator that the emulator knows, by the name of its kernel."""
