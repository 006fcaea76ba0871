"""TFLite's operators on single numbers and on rows of them, set up for one machine."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch

from edgeq.targets.emulator.arithmetic import formulas
from edgeq.targets.emulator.arithmetic.data_movement import Move
from edgeq.targets.emulator.arithmetic.elementwise import elementwise
from edgeq.targets.emulator.arithmetic.numerics import OutputRange
from edgeq.targets.emulator.tflite import fixed_point, functions
from edgeq.targets.emulator.tflite.op import PLAIN, output_range_of

if TYPE_CHECKING:
    from torch import Tensor

    from edgeq.targets.emulator.program import StepKernel
    from edgeq.targets.emulator.tflite.functions import Function
    from edgeq.targets.emulator.tflite.op import TfliteOp


def total(op: TfliteOp) -> StepKernel:
    """ADD and SUB: both operands rescaled with headroom to one grid, then the sum.

    Plain numbers are just added.
    """
    sign = -1 if op.file.name == "SUB" else 1
    if op.file.output.kind in PLAIN:
        return Move(lambda a, b: a + sign * b)
    if op.is_wide() and getattr(op.file.options, "potScaleInt16", False):
        raise op.refused("its 16-bit scales are powers of two by option")
    formula = formulas.total(
        op.grid(0), op.grid(1), op.output_grid, output_range_of(op), op.profile.rounding, sign
    )
    return elementwise(formula, [op.range(0), op.range(1)])


def product(op: TfliteOp) -> StepKernel:
    """MUL; plain numbers are just multiplied."""
    if op.file.output.kind in PLAIN:
        return Move(lambda a, b: a * b)
    formula = formulas.product(
        op.grid(0), op.grid(1), op.output_grid, output_range_of(op), op.profile.rounding
    )
    return elementwise(formula, [op.range(0), op.range(1)])


def extreme(op: TfliteOp) -> StepKernel:
    """MAXIMUM and MINIMUM of integers on one grid."""
    function = torch.maximum if op.file.name == "MAXIMUM" else torch.minimum
    return Move(function)


def prelu(op: TfliteOp) -> StepKernel:
    """PRELU."""
    formula = formulas.prelu(
        op.grid(0), op.grid(1), op.output_grid, output_range_of(op), op.profile.rounding
    )
    return elementwise(formula, [op.range(0), op.range(1)])


def relu(op: TfliteOp) -> StepKernel:
    """RELU and RELU6, which also change the grid."""
    ratio = float(np.float32(op.grid(0).scale / op.output_grid.scale))
    whole = output_range_of(op)
    high = whole.high
    if op.file.name == "RELU6":
        high = min(high, int(np.floor(np.float32(6) / op.output_grid.scale + np.float32(0.5))))
    output_range = OutputRange(0, max(whole.low, 0), high)
    return elementwise(formulas.regrid(ratio, output_range, op.profile.rounding), [op.range(0)])


def quantize(op: TfliteOp) -> StepKernel:
    """QUANTIZE, of real numbers or of integers on another grid."""
    output_range, output = output_range_of(op), op.output_grid
    if op.operand(0).kind != "FLOAT32":
        ratio = float(op.grid(0).scale) / float(output.scale)
        return elementwise(formulas.regrid(ratio, output_range, op.profile.rounding), [op.range(0)])
    scale = torch.tensor(float(output.scale), dtype=torch.float32)

    def nearest(x: Tensor) -> Tensor:
        ratio = x / scale
        return torch.copysign(torch.floor(ratio.abs() + 0.5), ratio).clamp_(
            output_range.low, output_range.high
        )

    return Move(nearest)


def dequantize(op: TfliteOp) -> StepKernel:
    """DEQUANTIZE."""
    scale = torch.tensor(float(op.grid(0).scale), dtype=torch.float32)
    return Move(lambda x: x * scale)


def cast(op: TfliteOp) -> StepKernel:
    """CAST from the integers of a grid to plain ones, and back to what their low bits say."""
    if op.operand(0).kind in PLAIN and op.file.output.kind in ("INT8", "INT16"):
        held = op.output_grid
        least, count, zero = held.qmin, held.qmax - held.qmin + 1, int(held.zero_point)
        return Move(lambda x: ((x - least) % count + (least - zero)).to(torch.float32))
    if op.file.output.kind != "INT32" or op.operand(0).kind not in ("INT8", "INT16", "UINT8"):
        raise op.refused(f"it makes {op.file.output.kind} of {op.operand(0).kind}")
    zero = int(op.grid(0).zero_point)
    return Move(lambda x: x.to(torch.int64) + zero)


def _pointwise(op: TfliteOp, function: Function) -> StepKernel:
    return elementwise(
        lambda x: torch.from_numpy(function(x.to(torch.int64).numpy()).astype(np.float32)),
        [op.range(0)],
    )


def logistic(op: TfliteOp) -> StepKernel:
    """LOGISTIC on 8 bits."""
    if op.is_wide():
        raise op.refused("on 16 bits it is a table of TFLite's that no formula gives")
    return _pointwise(op, functions.saturating(op.grid(0), op.output_grid, fixed_point.logistic, 8))


def tanh(op: TfliteOp) -> StepKernel:
    """TANH on 8 bits."""
    if op.is_wide():
        raise op.refused("it has 16 bits")
    return _pointwise(op, functions.saturating(op.grid(0), op.output_grid, fixed_point.tanh, 7))


def leaky_relu(op: TfliteOp) -> StepKernel:
    """LEAKY_RELU."""
    return _pointwise(
        op, functions.leaky_relu(op.grid(0), op.output_grid, float(op.file.options.alpha))
    )


def hard_swish(op: TfliteOp) -> StepKernel:
    """HARD_SWISH on 8 bits."""
    if op.is_wide():
        raise op.refused("it has 16 bits")
    return _pointwise(op, functions.hard_swish(op.grid(0), op.output_grid))


def gelu(op: TfliteOp) -> StepKernel:
    """GELU on 8 bits."""
    if op.is_wide():
        raise op.refused("it has 16 bits")
    function = functions.gelu_by_tanh if op.file.options.approximate else functions.gelu
    return _pointwise(op, functions.looked_up(op.grid(0), op.output_grid, function))


def softmax(op: TfliteOp) -> StepKernel:
    """SOFTMAX of integers, or of real numbers in float."""
    beta = float(op.file.options.beta)
    if op.operand(0).kind == "FLOAT32":
        return Move(lambda x: torch.softmax(x * beta, -1))
    if op.operand(0).kind == "INT16":
        raise op.refused("it is of 16 bits")
    function = functions.softmax(op.grid(0), op.output_grid, beta)
    return Move(lambda x: torch.from_numpy(function(x.to(torch.int64).numpy()).astype(np.float32)))


def log_softmax(op: TfliteOp) -> StepKernel:
    """LOG_SOFTMAX of real numbers."""
    if op.operand(0).kind == "FLOAT32":
        return Move(lambda x: torch.log_softmax(x, -1))
    raise op.refused("it is of integers")
