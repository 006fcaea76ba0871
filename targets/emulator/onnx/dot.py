"""Sums of products of the integer view, set up for one machine.

In fixed point, or in float between integers as ONNX says.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch

from edgeq.errors import TargetError
from edgeq.qdq.ir import QdqConstant
from edgeq.targets.emulator.arithmetic.accumulator import Accumulator, Operands, largest_sum
from edgeq.targets.emulator.arithmetic.dot import (
    Convolution,
    Dense,
    Finish,
    Product,
    SlidingWindow,
    TransposedConvolution,
)
from edgeq.targets.emulator.arithmetic.numerics import Factors
from edgeq.targets.emulator.onnx import ort_kernels
from edgeq.targets.emulator.onnx.float_matmul import (
    FloatConvolution,
    FloatFinish,
    FloatProduct,
    FloatTransposedConvolution,
)
from edgeq.targets.emulator.onnx.float_order import Nested, order_of
from edgeq.targets.emulator.onnx.float_pooling import total
from edgeq.targets.emulator.onnx.weights import Weights, weights_of
from edgeq.targets.emulator.onnx.windows import on_lines, window_of

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray
    from torch import Tensor

    from edgeq.targets.emulator.hardware.machine import Rounding
    from edgeq.targets.emulator.onnx.float_order import Order
    from edgeq.targets.emulator.onnx.op import OnnxOp
    from edgeq.targets.emulator.program import Log, StepKernel, WorkKind

    Prepare = Callable[[Sequence[Tensor]], tuple[Tensor, Tensor]]
    Built = tuple[tuple[int, ...], StepKernel, WorkKind]


def conv(op: OnnxOp) -> Built:
    """Conv of images or lines."""
    constants = weights_of(op, channel_axis=0)
    centered = (
        constants.centered if constants.centered.ndim == 4 else constants.centered[:, :, None]
    )
    if centered.ndim != 4:
        raise op.refused(f"its weights have {constants.centered.ndim} dimensions")
    if op.left_in_float:
        raise _in_float(op)
    window = window_of(op, constants.centered.shape[2:], int(op.number("group", 1)))
    return (0,), on_lines(op, _convolution(op, constants, centered, window)), "dot"


def _convolution(
    op: OnnxOp, constants: Weights, centered: NDArray[np.float32], window: SlidingWindow
) -> StepKernel:
    inner = _integers(op, constants, centered, window)
    if not op.in_float:
        return inner
    pixels, taps = math.prod(op.view.output.shape[2:]), math.prod(centered.shape[1:])
    order = order_of(centered.shape[0] // window.groups, pixels, taps, transposed=False)
    return FloatConvolution(
        inner, _float_finish(op, constants, bias_first=False), order, torch.arange(taps)
    )


def _integers(
    op: OnnxOp, constants: Weights, centered: NDArray[np.float32], window: SlidingWindow
) -> Convolution:
    weights = torch.from_numpy(np.ascontiguousarray(centered))
    start = _start(op, constants)
    depthwise = weights.shape[1] == 1 and weights.shape[0] == window.groups
    operands = _operands(op, weights.permute(0, 2, 3, 1).flatten(1), depthwise=depthwise)
    if op.on_ort and operands is not None and len(operands.weight_zero) > 1:
        raise op.refused("its weights have several zero points, with which ONNX Runtime stops")
    accumulator = Accumulator.of(
        op.name, op.profile, largest_sum(weights, start, op.range(0).largest), operands
    )
    return Convolution(
        weights.to(accumulator.dtype).contiguous(memory_format=torch.channels_last),
        None if start is None else start.to(accumulator.dtype),
        window,
        channels_last=False,
        accumulator=accumulator,
        finish=_finish(op, constants.scale, op.profile.rounding),
    )


def conv_transpose(op: OnnxOp) -> Built:
    """ConvTranspose of images."""
    groups = int(op.number("group", 1))
    constants = weights_of(op, channel_axis=1, groups=groups)
    if constants.centered.ndim != 4:
        raise op.refused(f"its weights have {constants.centered.ndim} dimensions")
    # torch takes no negative stride, not even of one tap
    centered = constants.centered[:, :, ::-1, ::-1].copy()
    stride, dilation = op.numbers("strides", (1, 1)), op.numbers("dilations", (1, 1))
    before, after = op.shape(0)[2:], op.view.output.shape[2:]
    given = op.numbers("pads", (0, 0, 0, 0))
    mode = op.view.attributes.get("auto_pad", "NOTSET")
    if mode not in ("NOTSET", "VALID") or op.numbers("output_shape"):
        raise op.refused("its padding is left open")
    ends = []
    for axis in (0, 1):
        span, spread = (
            (centered.shape[2 + axis] - 1) * dilation[axis],
            (before[axis] - 1) * stride[axis] + 1,
        )
        first = span - given[axis]
        ends.append((first, after[axis] + span - spread - first))
    window = SlidingWindow(
        (1, 1), (dilation[0], dilation[1]), (ends[0][0], ends[1][0], ends[0][1], ends[1][1]), groups
    )
    inner = _integers(op, constants, centered, window)
    steps = (stride[0], stride[1])
    if not op.in_float:
        return (0,), TransposedConvolution(inner, steps), "dot"
    out, depth, high, wide = centered.shape
    order = Nested(
        depth, order_of(out // groups * high * wide, math.prod(before), depth, transposed=False)
    )
    taps = torch.arange(depth * high * wide).reshape(depth, high * wide).flip(1).T.reshape(-1)
    return (
        (0,),
        FloatTransposedConvolution(
            FloatConvolution(inner, _float_finish(op, constants, bias_first=False), order, taps),
            steps,
        ),
        "dot",
    )


def dense(op: OnnxOp) -> Built:
    """Gemm."""
    if op.number("alpha", 1.0) != 1.0 or op.number("beta", 1.0) != 1.0 or op.number("transA", 0):
        raise op.refused("it scales or transposes its operands")
    transposed = bool(op.number("transB", 0))
    return _rows(op, weights_of(op, channel_axis=0 if transposed else 1), transposed=transposed)


def matmul(op: OnnxOp) -> Built:
    """MatMul, of rows with a constant matrix or of two tensors of matrices."""
    second = op.operand(1)
    if isinstance(second, QdqConstant) and second.values.ndim == 2:
        return _rows(op, weights_of(op, channel_axis=1), transposed=False)
    if min(len(op.shape(0)), len(op.shape(1))) < 2:
        raise op.refused("an operand is a vector")
    return _product(op)


def _rows(op: OnnxOp, constants: Weights, *, transposed: bool) -> Built:
    weights, start = (
        torch.from_numpy(np.ascontiguousarray(constants.centered)),
        _start(op, constants),
    )
    accumulator = Accumulator.of(
        op.name,
        op.profile,
        largest_sum(weights, start, op.range(0).largest),
        _operands(op, weights),
    )
    shape = op.view.output.shape
    if not op.in_float:
        bias = None if start is None else start.to(accumulator.dtype)
        finish = _finish(op, constants.scale, op.profile.dense_rounding)
        return (0,), Dense(weights.to(accumulator.dtype), bias, accumulator, finish, shape), "dot"
    out, taps = constants.centered.shape
    rows = math.prod(shape) // out

    def prepare(operands: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
        return operands[0].reshape(operands[0].shape[0], rows, taps), weights.T[None]

    order = order_of(rows, out, taps, transposed=transposed)
    return (0,), _float_product(op, constants, order, prepare, accumulator), "dot"


def _product(op: OnnxOp) -> Built:
    taps, (rows, columns) = op.shape(0)[-1], op.view.output.shape[-2:]
    ends = torch.tensor([[float(end)] * 2 for end in (op.range(1).low, op.range(1).high)])
    zeros = (op.stored_zero(1),)
    operands = (
        Operands(
            ends,
            op.range(0),
            op.stored_zero(0),
            op.storage_dtype(0),
            False,
            zeros,
            op.storage_dtype(1),
        )
        if op.on_ort
        else None
    )
    accumulator = Accumulator.of(
        op.name, op.profile, taps * op.range(0).largest * op.range(1).largest, operands
    )
    scale = np.asarray(op.grid(1).scale, np.float32)
    if not op.in_float:
        return (
            (0, 1),
            Product(
                (False, False),
                accumulator,
                _finish(op, scale, op.profile.rounding),
                op.view.output.shape,
            ),
            "dot",
        )
    rank = max(len(op.shape(0)), len(op.shape(1))) + 1

    def prepare(operands: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
        first, second = (
            x.reshape(x.shape[0], *[1] * (rank - x.ndim), *x.shape[1:]) for x in operands
        )
        return first, second

    constants = Weights(np.zeros((columns, 0), np.float32), scale, None, None)
    order = order_of(rows, columns, taps, transposed=False)
    return (0, 1), _float_product(op, constants, order, prepare, accumulator), "dot"


def reduce_sum(op: OnnxOp) -> Built:
    """ReduceSum, as a product with a column of ones."""
    axes = op.numbers("axes")
    kept = [axis for axis in range(len(op.shape(0))) if axis not in axes]
    count = math.prod(op.shape(0)[axis] for axis in axes)
    accumulator = Accumulator.of(op.name, op.profile, count * op.range(0).largest)
    ones = torch.ones(1, count)

    def rows_of(x: Tensor) -> Tensor:
        return x.permute(0, *(axis + 1 for axis in kept), *(axis + 1 for axis in axes)).reshape(
            x.shape[0], -1, count
        )

    if op.in_float:
        return (0,), total(axes, op), "dot"
    finish = _finish(op, np.asarray(1, np.float32), op.profile.rounding)
    inner = Dense(ones.to(accumulator.dtype), None, accumulator, finish, op.view.output.shape)
    return (0,), _After(rows_of, inner), "dot"


@dataclass(frozen=True, slots=True, eq=False)
class _After:
    """A kernel after its operand was moved."""

    move: Callable[[Tensor], Tensor]
    inner: StepKernel

    def __call__(self, operands: Sequence[Tensor], log: Log) -> Tensor:
        return self.inner((self.move(operands[0]),), log)


def _operands(op: OnnxOp, weights: Tensor, *, depthwise: bool = False) -> Operands | None:
    """What a layer multiplies; None for one that ONNX Runtime leaves in float."""
    if op.left_in_float:
        return None
    if op.x86 is None:  # weights are signed and have no zero point
        return Operands(weights, op.range(0), op.stored_zero(0), op.storage_dtype(0), depthwise)
    params = op.operand(1).params
    zeros = (0,) if params is None else tuple(int(zero) for zero in params.zero_point.reshape(-1))
    zeros = zeros[:1] if len(set(zeros)) == 1 else zeros
    return Operands(
        weights,
        op.range(0),
        op.stored_zero(0),
        op.storage_dtype(0),
        depthwise,
        zeros,
        op.storage_dtype(1),
    )


def _in_float(op: OnnxOp) -> TargetError:
    """A convolution in float is blocked for vectors, and added up in an order of its own."""
    what = (
        f"ONNX Runtime computes {op.view.op_type} {op.view.name!r} in float on this machine: "
        f"{op.left_in_float}"
    )
    return TargetError(
        f"{what}; the emulator does not go through that",
        hint=f"edgeq export FILE --for emulator:{op.profile.name} makes int8 activations uint8, "
        "which it computes in integers; "
        "edgeq audit FILE --target ort-cpu tells what else keeps layers in float",
    )


def _start(op: OnnxOp, constants: Weights) -> Tensor | None:
    """What accumulators hold at first; ONNX adds its bias in float."""
    if op.in_float or constants.bias is None:
        return None
    if constants.steps is None:
        raise op.refused("its bias is not on the grid of its sums")
    return torch.from_numpy(constants.steps.copy())


def _finish(op: OnnxOp, scale: NDArray[np.float32], rounding: Rounding) -> Finish:
    real = float(op.grid(0).scale) * scale.astype(np.float64) / float(op.output_grid.scale)
    if op.on_ort:
        real = ort_kernels.factor(op, scale)
    return Finish(Factors.of(real), op.output_range, rounding)


def _float_finish(op: OnnxOp, constants: Weights, *, bias_first: bool) -> FloatFinish:
    return FloatFinish(
        torch.tensor(float(op.grid(0).scale)),
        torch.from_numpy(np.array(constants.scale, np.float32)),
        None if constants.bias is None else torch.from_numpy(constants.bias.copy()),
        bias_first,
        torch.tensor(float(op.output_grid.scale)),
        op.output_range,
        None if constants.gain is None else torch.from_numpy(constants.gain.copy()),
        None if constants.shift is None else torch.from_numpy(constants.shift.copy()),
        op.profile.settles_ties,
    )


def _float_product(
    op: OnnxOp, constants: Weights, order: Order, prepare: Prepare, accumulator: Accumulator
) -> FloatProduct:
    finish = _float_finish(op, constants, bias_first=True)
    return FloatProduct(
        finish,
        order,
        prepare,
        op.view.output.shape,
        accumulator.dtype,
        accumulator.exact,
    )
