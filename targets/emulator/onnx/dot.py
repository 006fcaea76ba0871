"""Sums of products of the integer view, set up for one machine.

In fixed point, or in float between integers as ONNX says.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, cast

import numpy as np
import torch

from edgeq.errors import TargetError
from edgeq.qdq.batch_norm import NORMALIZATION, UNFOLDED_BIAS, UNFOLDED_SCALE
from edgeq.qdq.ir import QdqConstant
from edgeq.targets.emulator.arithmetic.accumulator import Accumulator, Operands, largest_sum
from edgeq.targets.emulator.arithmetic.dot import (
    Convolution,
    Dense,
    Finish,
    Product,
    TransposedConvolution,
    Window,
)
from edgeq.targets.emulator.arithmetic.numerics import Factors
from edgeq.targets.emulator.arithmetic.requantize import to_one_scale
from edgeq.targets.emulator.onnx import ort_kernels
from edgeq.targets.emulator.onnx.float_matmul import (
    RealConvolution,
    RealFinish,
    RealProduct,
    RealSpread,
)
from edgeq.targets.emulator.onnx.float_order import Nested, order_of
from edgeq.targets.emulator.onnx.float_pooling import total
from edgeq.targets.emulator.onnx.op import centered_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray
    from torch import Tensor

    from edgeq.targets.emulator.onnx.op import OnnxOp
    from edgeq.targets.emulator.program import Kernel, Log, WorkKind

    Built = tuple[tuple[int, ...], Kernel, WorkKind]

_SCALE_TOLERANCE = 2.0**-21  # of the scale of a bias: 4 units in the last place of float32


@dataclass(frozen=True, slots=True, eq=False)
class _Weights:
    """A layer's constants, output channels first.

    Attributes:
        centered: (out, …), float32.
        scale: float32, () or (out,).
        bias: float32 real numbers, (out,), or None.
        steps: the same on the grid of the sums, float64; None where it is not on it.
        gain: of a normalisation behind the layer that is computed in float, float32, (out,); None
            without one.
        shift: likewise.
    """

    centered: NDArray[np.float32]
    scale: NDArray[np.float32]
    bias: NDArray[np.float32] | None
    steps: NDArray[np.float64] | None
    gain: NDArray[np.float32] | None = None
    shift: NDArray[np.float32] | None = None


def conv(op: OnnxOp) -> Built:
    """Conv of images or lines."""
    constants = _weights(op, channel_axis=0)
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
    op: OnnxOp, constants: _Weights, centered: NDArray[np.float32], window: Window
) -> Kernel:
    inner = _integers(op, constants, centered, window)
    if not op.is_real:
        return inner
    pixels, taps = math.prod(op.view.output.shape[2:]), math.prod(centered.shape[1:])
    order = order_of(centered.shape[0] // window.groups, pixels, taps, transposed=False)
    return RealConvolution(
        inner, _real_finish(op, constants, bias_first=False), order, torch.arange(taps)
    )


def _integers(
    op: OnnxOp, constants: _Weights, centered: NDArray[np.float32], window: Window
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
    constants = _weights(op, channel_axis=1, groups=groups)
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
    window = Window(
        (1, 1), (dilation[0], dilation[1]), (ends[0][0], ends[1][0], ends[0][1], ends[1][1]), groups
    )
    inner = _integers(op, constants, centered, window)
    steps = (stride[0], stride[1])
    if not op.is_real:
        return (0,), TransposedConvolution(inner, steps), "dot"
    out, depth, high, wide = centered.shape
    order = Nested(
        depth, order_of(out // groups * high * wide, math.prod(before), depth, transposed=False)
    )
    taps = torch.arange(depth * high * wide).reshape(depth, high * wide).flip(1).T.reshape(-1)
    return (
        (0,),
        RealSpread(
            RealConvolution(inner, _real_finish(op, constants, bias_first=False), order, taps),
            steps,
        ),
        "dot",
    )


def dense(op: OnnxOp) -> Built:
    """Gemm."""
    if op.number("alpha", 1.0) != 1.0 or op.number("beta", 1.0) != 1.0 or op.number("transA", 0):
        raise op.refused("it scales or transposes its operands")
    transposed = bool(op.number("transB", 0))
    return _rows(op, _weights(op, channel_axis=0 if transposed else 1), transposed=transposed)


def matmul(op: OnnxOp) -> Built:
    """MatMul, of rows with a constant matrix or of two tensors of matrices."""
    second = op.operand(1)
    if isinstance(second, QdqConstant) and second.values.ndim == 2:
        return _rows(op, _weights(op, channel_axis=1), transposed=False)
    if min(len(op.shape(0)), len(op.shape(1))) < 2:
        raise op.refused("an operand is a vector")
    return _product(op)


def _rows(op: OnnxOp, constants: _Weights, *, transposed: bool) -> Built:
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
    if not op.is_real:
        bias = None if start is None else start.to(accumulator.dtype)
        finish = _finish(op, constants.scale, op.profile.dense_rounding)
        return (0,), Dense(weights.to(accumulator.dtype), bias, accumulator, finish, shape), "dot"
    out, taps = constants.centered.shape
    rows = math.prod(shape) // out

    def prepare(operands: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
        return operands[0].reshape(operands[0].shape[0], rows, taps), weights.T[None]

    order = order_of(rows, out, taps, transposed=transposed)
    return (0,), _real_product(op, constants, order, prepare, accumulator), "dot"


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
    if not op.is_real:
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

    constants = _Weights(np.zeros((columns, 0), np.float32), scale, None, None)
    order = order_of(rows, columns, taps, transposed=False)
    return (0, 1), _real_product(op, constants, order, prepare, accumulator), "dot"


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

    if op.is_real:
        return (0,), total(axes, op), "dot"
    finish = _finish(op, np.asarray(1, np.float32), op.profile.rounding)
    inner = Dense(ones.to(accumulator.dtype), None, accumulator, finish, op.view.output.shape)
    return (0,), _After(rows_of, inner), "dot"


@dataclass(frozen=True, slots=True, eq=False)
class _After:
    """A kernel after its operand was moved."""

    move: object
    inner: Kernel

    def __call__(self, operands: Sequence[Tensor], log: Log) -> Tensor:
        return self.inner((self.move(operands[0]),), log)  # type: ignore[operator]


def on_lines(op: OnnxOp, kernel: Kernel) -> Kernel:
    """A kernel of images, for lines too: they become images of one row."""
    if len(op.shape(0)) == 4:
        return kernel
    shape = op.view.output.shape

    class _Lines:
        def __call__(self, operands: Sequence[Tensor], log: Log) -> Tensor:
            x = operands[0]
            return kernel((x[:, :, :, None],), log).reshape(x.shape[0], *shape)

    return _Lines()


def window_of(op: OnnxOp, kernel: tuple[int, ...], groups: int = 1) -> Window:
    """How a window moves over an image, padding derived where the graph leaves it open."""
    stride, dilation = op.numbers("strides", (1, 1)), op.numbers("dilations", (1, 1))
    pads, before = op.numbers("pads", (0, 0, 0, 0)), op.shape(0)[-len(kernel) :]
    mode = op.view.attributes.get("auto_pad", "NOTSET")
    if len(kernel) == 1:
        kernel, before = (1, *kernel), (1, *before)
        stride, dilation = (1, stride[-1]), (1, dilation[-1])
        pads = (0, pads[0], 0, pads[-1] if "pads" in op.view.attributes else 0)
    if mode in ("SAME_UPPER", "SAME_LOWER"):
        ends = [
            _same(before[i], kernel[i], stride[i], dilation[i], upper=mode == "SAME_UPPER")
            for i in (0, 1)
        ]
        pads = (ends[0][0], ends[1][0], ends[0][1], ends[1][1])
    return Window(
        (stride[0], stride[1]),
        (dilation[0], dilation[1]),
        cast("tuple[int, int, int, int]", pads),
        groups,
    )


def pooling_window(op: OnnxOp, kernel: tuple[int, int]) -> Window:
    """The window of a pooling, with as much behind the image as its last windows reach beyond it where the size is rounded up."""
    window = window_of(op, op.numbers("kernel_shape"))
    if not op.number("ceil_mode", 0):
        return window
    sizes, results = ((1, *shape)[-2:] for shape in (op.shape(0)[2:], op.view.output.shape[2:]))
    top, left, bottom, right = window.padding
    reach = [
        (results[i] - 1) * window.stride[i] + (kernel[i] - 1) * window.dilation[i] + 1
        for i in (0, 1)
    ]
    more = (max(reach[0] - sizes[0] - top, bottom), max(reach[1] - sizes[1] - left, right))
    return replace(window, padding=(top, left, *more))


def _same(size: int, taps: int, stride: int, dilation: int, *, upper: bool) -> tuple[int, int]:
    total = max((-(-size // stride) - 1) * stride + (taps - 1) * dilation + 1 - size, 0)
    small = total // 2
    return (small, total - small) if upper else (total - small, small)


# ---- constants -----------------------------------------------------------------------------------


def _weights(op: OnnxOp, *, channel_axis: int, groups: int = 1) -> _Weights:
    constant = op.operand(1)
    if not isinstance(constant, QdqConstant) or constant.params is None:
        raise op.refused("its weights are no constant integers")
    centered, scale, axis = (
        centered_of(constant),
        np.asarray(constant.params.scale, np.float32),
        constant.params.axis,
    )
    if axis is not None and axis % centered.ndim != channel_axis:
        raise op.refused("its weight scales do not follow the output channels")
    if channel_axis == 1:
        grouped = centered.reshape(
            groups, centered.shape[0] // groups, *centered.shape[1:]
        ).swapaxes(1, 2)
        centered = grouped.reshape(-1, *grouped.shape[2:])
        scale = np.tile(scale, groups) if axis is not None else scale
    if op.is_real and NORMALIZATION in op.view.attributes:
        return _unfolded(op, centered)
    bias, steps = _bias(op, centered.shape[0], scale)
    found = _Weights(centered, scale, bias, steps)
    return (
        found
        if op.profile.per_channel or not scale.ndim
        else _on_one_scale(found, op.profile.weight_bits[1])
    )


def _unfolded(op: OnnxOp, centered: NDArray[np.float32]) -> _Weights:
    """A layer as the file has it, and behind it the normalisation that the view folded into it."""
    gain, shift = np.array(op.view.attributes[NORMALIZATION], np.float32).reshape(2, -1)
    scale, bias = (
        np.array(op.view.attributes.get(name, ()), np.float32)
        for name in (UNFOLDED_SCALE, UNFOLDED_BIAS)
    )
    if not scale.size:  # it stood alone
        return _Weights(np.ones_like(centered), np.asarray(1, np.float32), None, None, gain, shift)
    signs = np.where(gain < 0, -1, 1).astype(np.float32).reshape(-1, *[1] * (centered.ndim - 1))
    reals = np.broadcast_to(bias, gain.shape).astype(np.float32) if bias.size else None
    return _Weights(
        centered * signs, scale if scale.size > 1 else scale.reshape(()), reals, None, gain, shift
    )


def _on_one_scale(constants: _Weights, bits: int) -> _Weights:
    """The constants as a machine takes them that has no scales for channels.

    Rounded to one power of two.
    """
    centered, scale = to_one_scale(constants.centered.astype(np.int64), constants.scale, bits)
    steps = (
        None
        if constants.steps is None
        else np.rint(constants.steps * constants.scale.astype(np.float64) / scale)
    )
    return _Weights(
        centered.astype(np.float32), np.asarray(scale, np.float32), constants.bias, steps
    )


def _bias(
    op: OnnxOp, channels: int, scale: NDArray[np.float32]
) -> tuple[NDArray[np.float32] | None, NDArray[np.float64] | None]:
    """The bias as real numbers, and as steps of the sums where it is on their grid."""
    operand = op.view.inputs[2] if len(op.view.inputs) > 2 else None
    if operand is None:
        return None, None
    if not isinstance(operand, QdqConstant):
        raise op.refused("its bias is computed at run time")
    params = operand.params
    reals = (
        operand.values.astype(np.float32)
        if params is None
        else params.dequantize(operand.values.astype(np.int32))
    )
    wide = np.broadcast_to(reals.reshape(-1), channels).astype(np.float32)
    grid = scale.astype(np.float64) * float(op.grid(0).scale)
    on_grid = (
        params is not None
        and not params.zero_point.any()
        and bool((np.abs(params.scale / grid - 1) <= _SCALE_TOLERANCE).all())
    )
    steps = (
        np.broadcast_to(operand.values.reshape(-1), channels).astype(np.float64)
        if on_grid
        else None
    )
    return wide, steps


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


def _start(op: OnnxOp, constants: _Weights) -> Tensor | None:
    """What accumulators hold at first; ONNX adds its bias in float."""
    if op.is_real or constants.bias is None:
        return None
    if constants.steps is None:
        raise op.refused("its bias is not on the grid of its sums")
    return torch.from_numpy(constants.steps.copy())


def _finish(op: OnnxOp, scale: NDArray[np.float32], rounding: str) -> Finish:
    real = float(op.grid(0).scale) * scale.astype(np.float64) / float(op.output_grid.scale)
    if op.on_ort:
        real = ort_kernels.factor(op, scale)
    return Finish(Factors.of(real), op.output_range, rounding)  # type: ignore[arg-type]


def _real_finish(op: OnnxOp, constants: _Weights, *, bias_first: bool) -> RealFinish:
    return RealFinish(
        torch.tensor(float(op.grid(0).scale)),
        torch.from_numpy(np.array(constants.scale, np.float32)),
        None if constants.bias is None else torch.from_numpy(constants.bias.copy()),
        bias_first,
        torch.tensor(float(op.output_grid.scale)),
        op.output_range,
        None if constants.gain is None else torch.from_numpy(constants.gain.copy()),
        None if constants.shift is None else torch.from_numpy(constants.shift.copy()),
    )


def _real_product(
    op: OnnxOp, constants: _Weights, order: object, prepare: object, accumulator: Accumulator
) -> RealProduct:
    finish = _real_finish(op, constants, bias_first=True)
    return RealProduct(
        finish,
        order,  # type: ignore[arg-type]
        prepare,  # type: ignore[arg-type]
        op.view.output.shape,
        accumulator.dtype,
        accumulator.exact,
    )
