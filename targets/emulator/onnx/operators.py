"""The table of operators of the integer view that the emulator knows, and how each is set up."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import torch

from edgeq.errors import ArtefactError
from edgeq.numerics.multipliers import mean_multiplier
from edgeq.numerics.pointwise import UNARY, evaluate
from edgeq.qdq.ir import QdqConstant, QdqTensor
from edgeq.qdq.op_traits import traits_of
from edgeq.qdq.picks import picks_of
from edgeq.quant import STORAGE_RANGE
from edgeq.targets.emulator.arithmetic import data_movement, formulas
from edgeq.targets.emulator.arithmetic.data_movement import Move
from edgeq.targets.emulator.arithmetic.dot import Finish
from edgeq.targets.emulator.arithmetic.elementwise import elementwise
from edgeq.targets.emulator.arithmetic.numerics import Factors, step_of
from edgeq.targets.emulator.onnx import dot as onnx_dot
from edgeq.targets.emulator.onnx import float_pooling, ort_kernels
from edgeq.targets.emulator.onnx.op import centered_of
from edgeq.targets.emulator.onnx.windows import on_lines, pooling_window, window_of

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from numpy.typing import NDArray
    from torch import Tensor

    from edgeq.qdq.ir import QdqOutput
    from edgeq.targets.emulator.onnx.op import OnnxOp
    from edgeq.targets.emulator.program import StepKernel, WorkKind

    Built = tuple[tuple[int, ...], StepKernel, WorkKind]


def kernel_of(op: OnnxOp) -> Built:
    """Which operands an operator reads as it runs, its arithmetic, and what sort of loop it is.

    Raises:
        TargetError: the machine has no arithmetic for it.
    """
    kind = op.view.op_type
    if op.view.output.is_float:
        return _put_together(op)
    if kind in UNARY or kind == "Lookup":
        return (0,), _function(op), "table"
    if kind not in KERNELS:
        raise op.refused("it is not among those it knows")
    data, kernel, loop = KERNELS[kind](op)
    return data, _clipped(op, kernel) if traits_of(kind).moves else kernel, loop


def _put_together(op: OnnxOp) -> Built:
    """Data movement of dequantised parts of an output."""
    if not traits_of(op.view.op_type).moves:
        raise op.refused("it is in float")
    data, kernel, loop = KERNELS[op.view.op_type](op)
    operands = [op.view.inputs[i] for i in data]
    steps = [
        1.0 if operand is None or operand.is_float else float(operand.scale)
        for operand in operands
        if operand is None or isinstance(operand, QdqTensor)
    ]
    factors = [torch.tensor(step, dtype=torch.float32) for step in steps]
    return (
        data,
        Move(
            lambda *levels: kernel(
                [level * factor for level, factor in zip(levels, factors, strict=True)], _NO_LOG
            )
        ),
        loop,
    )


def _clipped(op: OnnxOp, kernel: StepKernel) -> StepKernel:
    """A move whose result is narrower than what it moves is clipped."""
    ranges = [op.range(i) for i, o in enumerate(op.view.inputs) if o is not None]
    output_range = op.output_range
    if all(output_range.low <= one.low and one.high <= output_range.high for one in ranges):
        return kernel
    return Move(
        lambda *operands: kernel(operands, _NO_LOG).clamp(output_range.low, output_range.high)
    )


_NO_LOG = cast("Any", None)  # moves count nothing


# ---- the ends of the graph -----------------------------------------------------------------------


def quantizer_of(tensor: QdqTensor) -> StepKernel:
    """Real numbers to levels, as QuantizeLinear does."""
    params, low, high = tensor.params, tensor.low, tensor.high
    if params.axis is not None:
        raise ArtefactError(
            f"the input {tensor.name!r} has one scale a channel", hint="quantise it with one scale"
        )
    step, zero = torch.tensor(float(params.scale), dtype=torch.float32), int(params.zero_point)
    return Move(lambda x: (x / step).round_().clamp_(low - zero, high - zero))


def head_of(output: QdqOutput) -> tuple[tuple[int, ...], StepKernel]:
    """The shape of an output and what stands, in float, between it and its integers."""
    step, axis, shape = (
        torch.tensor(float(output.tensor.scale), dtype=torch.float32),
        output.axis + 1,
        output.tensor.shape,
    )
    if output.epilogue == "softmax":
        return shape, Move(lambda x: torch.softmax(x * step, axis))
    if output.epilogue == "log_softmax":
        return shape, Move(lambda x: torch.log_softmax(x * step, axis))
    if output.epilogue == "argmax":
        kept = tuple(
            1 if i == output.axis else size
            for i, size in enumerate(shape)
            if output.keepdims or i != output.axis
        )
        return kept, Move(lambda x: _first_greatest(x, axis).reshape(x.shape[0], *kept))
    return shape, Move(lambda x: x * step)


def _first_greatest(x: Tensor, axis: int) -> Tensor:
    """The place of the largest, the first of equal ones."""
    return (x == x.amax(axis, keepdim=True)).to(torch.int8).argmax(axis)


# ---- element by element --------------------------------------------------------------------------


def _binary(op: OnnxOp) -> Built:
    kind, output_range, rounding = op.view.op_type, op.output_range, op.profile.rounding
    grids = [op.grid(0), op.grid(1)]
    if op.in_float:
        formula = formulas.in_float(
            lambda a, b: _computed(kind, a, b), grids, op.output_grid, output_range
        )
    elif op.on_ort:
        formula = ort_kernels.product(op) if kind == "Mul" else ort_kernels.total(op)
    elif kind == "PRelu":
        formula = formulas.prelu(grids[0], grids[1], op.output_grid, output_range, rounding)
    elif kind == "Mul":
        formula = formulas.product(grids[0], grids[1], op.output_grid, output_range, rounding)
    else:
        formula = formulas.total(
            grids[0], grids[1], op.output_grid, output_range, rounding, -1 if kind == "Sub" else 1
        )
    return (0, 1), elementwise(formula, [op.range(0), op.range(1)]), "elementwise"


def _computed(kind: str, a: NDArray[np.float32], b: NDArray[np.float32]) -> NDArray[np.float32]:
    if kind == "PRelu":
        return np.where(a < 0, a * b, a).astype(np.float32)
    return evaluate(kind, (a, b), {})


def _regrid(op: OnnxOp) -> Built:
    source, output = op.grid(0), op.output_grid
    if op.in_float:
        formula = formulas.in_float(lambda x: x, [source], output, op.output_range)
    else:
        formula = formulas.regrid(
            float(source.scale) / float(output.scale), op.output_range, op.profile.rounding
        )
    return (0,), elementwise(formula, [op.range(0)]), "elementwise"


def _function(op: OnnxOp) -> StepKernel:
    """A unary elementwise function: a table on any machine, its entries rounded as ONNX rounds."""
    source, output = op.grid(0), op.output_grid
    if op.view.op_type == "Lookup":
        table = op.operand(1)
        if not isinstance(table, QdqConstant):
            raise op.refused("its table is computed at run time")
        values = formulas.quantized(table.values.astype(np.float32), output, op.output_range)
        first = STORAGE_RANGE[source.dtype][0] - int(source.zero_point)
        return elementwise(
            lambda x: torch.from_numpy(values)[(x - first).to(torch.int64)], [op.range(0)]
        )
    attributes = op.view.attributes
    formula = formulas.in_float(
        lambda x: evaluate(op.view.op_type, (x,), attributes), [source], output, op.output_range
    )
    return elementwise(formula, [op.range(0)])


# ---- normalisations and resizing, in float only --------------------------------------------------


def _softmax(op: OnnxOp) -> Built:
    if op.on_ort:
        return (0,), ort_kernels.softmax(op, int(op.number("axis", -1))), "elementwise"
    if not op.in_float:
        raise op.refused("machines compute it each in their own way")
    axis, logarithm = int(op.number("axis", -1)) + 1, op.view.op_type == "LogSoftmax"
    step = torch.tensor(float(op.grid(0).scale), dtype=torch.float32)
    output, output_range = op.output_grid, op.output_range

    def normalized(x: Tensor) -> Tensor:
        reals = (x * step).to(torch.float64)
        found = torch.log_softmax(reals, axis) if logarithm else torch.softmax(reals, axis)
        return torch.from_numpy(
            formulas.quantized(found.to(torch.float32).numpy(), output, output_range)
        )

    return (0,), Move(normalized), "elementwise"


# ---- windows and means ---------------------------------------------------------------------------


def _flat_kernel(op: OnnxOp) -> tuple[int, int]:
    kernel = op.numbers("kernel_shape")
    if len(kernel) not in (1, 2):
        raise op.refused(f"its window has {len(kernel)} dimensions")
    return (1, kernel[0]) if len(kernel) == 1 else (kernel[0], kernel[1])


def _max_pool(op: OnnxOp) -> Built:
    kernel, output_range = _flat_kernel(op), op.output_range
    pooled = data_movement.max_pool(
        kernel,
        pooling_window(op, kernel),
        op.view.output.shape,
        channels_last=False,
        low=output_range.low,
        high=output_range.high,
    )
    return (0,), on_lines(op, pooled), "pool"


def _average_pool(op: OnnxOp) -> Built:
    kernel, output_range = _flat_kernel(op), op.output_range
    window = pooling_window(op, kernel)
    counted = bool(op.number("count_include_pad", 0))
    if counted and window != window_of(op, op.numbers("kernel_shape")):
        raise op.refused("it counts its padding, and rounds its size up")
    if op.in_float or op.on_ort:
        average = ort_kernels.average_pool if op.on_ort else float_pooling.average_pool
        pooled: StepKernel = average(kernel, window, op, counted=counted)
        return (0,), on_lines(op, pooled), "pool"
    if kernel == op.shape(0)[2:] and not any(window.padding):
        return _mean_over(op, (2, 3))
    if (counted and any(window.padding)) or float(op.grid(0).scale) != float(op.output_grid.scale):
        raise op.refused("it counts its padding, or changes the grid")
    # machines hold it as int8
    zero = int(op.grid(0).zero_point) - 128 * (op.grid(0).dtype == "uint8")
    pooled = data_movement.average_pool(
        kernel,
        window,
        op.view.output.shape,
        channels_last=False,
        zero_point=zero,
        low=output_range.low,
        high=output_range.high,
    )
    return (0,), on_lines(op, pooled), "pool"


def _mean(op: OnnxOp) -> Built:
    whole = op.view.op_type == "GlobalAveragePool"
    axes = tuple(range(2, len(op.shape(0)))) if whole else op.numbers("axes")
    if op.on_ort:
        finish = Finish(
            ort_kernels.mean_factor(op, math.prod(op.shape(0)[axis] for axis in axes)),
            op.output_range,
            op.profile.rounding,
        )
        return (0,), data_movement.mean(axes, op.view.output.shape, finish), "pool"
    if not op.in_float:
        return _mean_over(op, axes)
    return (0,), float_pooling.mean(axes, op, pooled=whole), "pool"


def _mean_over(op: OnnxOp, axes: tuple[int, ...]) -> Built:
    count = math.prod(op.shape(0)[axis] for axis in axes)
    factor = mean_multiplier(step_of(op.grid(0)), step_of(op.output_grid), count)
    return (
        (0,),
        data_movement.mean(
            axes,
            op.view.output.shape,
            Finish(Factors.fixed([factor]), op.output_range, op.profile.rounding),
        ),
        "pool",
    )


def _greatest(op: OnnxOp) -> Built:
    axes = (
        op.numbers("axes") if op.view.op_type == "ReduceMax" else tuple(range(2, len(op.shape(0))))
    )
    return (0,), data_movement.greatest(axes, op.view.output.shape), "pool"


def _resize(op: OnnxOp) -> Built:
    if not op.in_float:
        raise op.refused("machines interpolate each in their own way")
    return (0,), float_pooling.bilinear(op), "pool"


# ---- data that only moves ------------------------------------------------------------------------


def _reshape(op: OnnxOp) -> Built:
    return (0,), data_movement.reshape(op.view.output.shape), "move"


def _transpose(op: OnnxOp) -> Built:
    return (0,), data_movement.transpose(op.numbers("perm")), "move"


def _slice(op: OnnxOp) -> Built:
    parts = [slice(None)] * len(op.shape(0))
    for axis, start, end, step in zip(
        *(op.numbers(name) for name in ("axes", "starts", "ends", "steps")), strict=True
    ):
        parts[axis] = slice(start, None if end < 0 else end, step)
    return (0,), data_movement.cut(parts, op.view.output.shape), "move"


def _concat(op: OnnxOp) -> Built:
    return (
        tuple(range(len(op.view.inputs))),
        data_movement.concatenate(int(op.number("axis", 0))),
        "move",
    )


def _pad(op: OnnxOp) -> Built:
    pads, rank = op.numbers("pads"), len(op.shape(0))
    return (
        (0,),
        data_movement.pad([(pads[axis], pads[axis + rank]) for axis in range(rank)]),
        "move",
    )


def _gather(op: OnnxOp) -> Built:
    indices = torch.tensor(op.numbers("indices"), dtype=torch.int64).reshape(
        op.numbers("indices_shape")
    )
    return (0,), data_movement.gather(indices, int(op.number("axis", 0))), "move"


def _embedding(op: OnnxOp) -> Built:
    table = op.operand(1)
    if not isinstance(table, QdqConstant):
        raise op.refused("its table is computed at run time")
    rows = torch.from_numpy(centered_of(table))
    return (0,), Move(lambda ids: rows[ids.to(torch.int64)]), "table"


def _pick(op: OnnxOp) -> Built:
    return (
        (0,),
        data_movement.picked(picks_of(op.view.attributes), len(op.view.output.shape)),
        "move",
    )


def _depth_to_space(op: OnnxOp) -> Built:
    columns_first = op.view.attributes.get("mode", "DCR") == "CRD"
    return (
        (0,),
        data_movement.depth_to_space(
            int(op.number("blocksize", 1)), channels_last=False, columns_first=columns_first
        ),
        "move",
    )


def _space_to_depth(op: OnnxOp) -> Built:
    return (
        (0,),
        data_movement.space_to_depth(int(op.number("blocksize", 1)), channels_last=False),
        "move",
    )


def _nearest(op: OnnxOp) -> Built:
    picks = [
        torch.from_numpy(float_pooling.nearest_of(op, axis)) for axis in range(len(op.shape(0)))
    ]

    def picked(x: Tensor) -> Tensor:
        for axis, pick in enumerate(picks):
            x = x.index_select(axis + 1, pick)
        return x

    return (0,), Move(picked), "move"


KERNELS: Mapping[str, Callable[[OnnxOp], Built]] = {
    "Add": _binary,
    "AveragePool": _average_pool,
    "Concat": _concat,
    "Conv": onnx_dot.conv,
    "ConvTranspose": onnx_dot.conv_transpose,
    "DepthToSpace": _depth_to_space,
    "Embedding": _embedding,
    "Flatten": _reshape,
    "Gather": _gather,
    "Gemm": onnx_dot.dense,
    "GlobalAveragePool": _mean,
    "GlobalMaxPool": _greatest,
    "Identity": _reshape,
    "LogSoftmax": _softmax,
    "MatMul": onnx_dot.matmul,
    "MaxPool": _max_pool,
    "Mul": _binary,
    "PRelu": _binary,
    "Pad": _pad,
    "Pick": _pick,
    "ReduceMax": _greatest,
    "ReduceMean": _mean,
    "ReduceSum": onnx_dot.reduce_sum,
    "Requantize": _regrid,
    "Reshape": _reshape,
    "Resize": _resize,
    "ResizeNearest": _nearest,
    "Slice": _slice,
    "Softmax": _softmax,
    "SpaceToDepth": _space_to_depth,
    "Squeeze": _reshape,
    "Sub": _binary,
    "Transpose": _transpose,
    "Unsqueeze": _reshape,
}


def known() -> tuple[str, ...]:
    """Every operator of the view that the emulator knows on some machine."""
    return tuple(sorted({*KERNELS, *UNARY, "Lookup"}))
