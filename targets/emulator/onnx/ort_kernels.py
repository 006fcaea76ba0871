"""ONNX Runtime's integer kernels on x86 with AVX2, step by step in float32.

Sums, products, means and softmax of integers.

They work on integers as they are stored and add zero points in float, so a result on a tie, or near
one, may differ from what QDQ says by one. Found out on the runtime, over whole ranges;
``tests/targets/emulator/test_ort_kernels.py`` does it again.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
import torch

from edgeq.qdq.ort_x86.softmax import overflows
from edgeq.targets.emulator.arithmetic.data_movement import Move
from edgeq.targets.emulator.arithmetic.dot import as_images
from edgeq.targets.emulator.arithmetic.numerics import Factors, step_of
from edgeq.targets.emulator.onnx.float_pooling import images_shape, sum_of, taps_of

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor

    from edgeq.targets.emulator.arithmetic.dot import SlidingWindow
    from edgeq.targets.emulator.arithmetic.elementwise import Formula
    from edgeq.targets.emulator.onnx.op import OnnxOp

_EXPONENTS = 255  # the largest difference of two bytes
_RESERVED = 5.0  # of the exponent of a sum of exponentials


def factor(op: OnnxOp, scale: NDArray[np.float32]) -> NDArray[np.float64]:
    """What the sums of a product are multiplied with, made of scales one by one in float32."""
    found = (step_of(op.grid(0)) * scale.astype(np.float32)) / step_of(op.output_grid)
    return np.asarray(found, np.float32).astype(np.float64)


def total(op: OnnxOp) -> Formula:
    """QLinearAdd: two fused multiply-adds that start from a number with all zero points in it.

    A tensor of one element is always the second.
    """
    a, b = (np.float32(step_of(op.grid(i)) / step_of(op.output_grid)) for i in (0, 1))
    zeros = [np.float32(op.stored_zero(i)) for i in (0, 1)]
    output_range = op.stored_range
    if _single(op, 0) and not _single(op, 1):
        return _swapped(_sum(b, a, zeros[1], zeros[0], output_range))
    return _sum(a, b, zeros[0], zeros[1], output_range)


def _sum(
    a: np.float32,
    b: np.float32,
    zero_a: np.float32,
    zero_b: np.float32,
    output_range: tuple[int, int, int],
) -> Formula:
    zero, low, high = output_range
    start = np.float32(np.float32(zero) - _fused(a, zero_a, np.float32(b * zero_b)))

    def formula(x: Tensor, y: Tensor) -> Tensor:
        x, y = torch.broadcast_tensors(x, y)
        inner = _fused(y.numpy() + zero_b, b, start)
        stored = np.rint(_fused(x.numpy() + zero_a, a, inner))
        return torch.from_numpy((np.clip(stored, low, high) - zero).astype(np.float32))

    return formula


def _swapped(formula: Formula) -> Formula:
    return lambda x, y: formula(y, x)


def _fused(
    x: NDArray[np.float32] | np.float32, y: np.float32, z: NDArray[np.float32] | np.float32
) -> NDArray[np.float32]:
    """``x * y + z`` rounded once; float64 holds all digits of numbers as these."""
    return np.asarray(np.float64(x) * np.float64(y) + np.float64(z)).astype(np.float32)


def product(op: OnnxOp) -> Formula:
    """QLinearMul: the exact product times a factor, then the zero point, both in float32."""
    ratio = np.float32(
        np.float32(step_of(op.grid(0)) * step_of(op.grid(1))) / step_of(op.output_grid)
    )
    zero, low, high = op.stored_range

    def formula(x: Tensor, y: Tensor) -> Tensor:
        scaled = (x.numpy() * y.numpy()).astype(np.float32) * ratio
        return torch.from_numpy(
            (np.clip(np.rint(scaled + np.float32(zero)), low, high) - zero).astype(np.float32)
        )

    return formula


def mean_factor(op: OnnxOp, count: int) -> Factors:
    """What QLinearGlobalAveragePool multiplies sums with."""
    return Factors.of(
        float(step_of(op.grid(0)) / np.float32(step_of(op.output_grid) * np.float32(count)))
    )


def average_pool(
    kernel: tuple[int, int], window: SlidingWindow, op: OnnxOp, *, counted: bool
) -> Move:
    """QLinearAveragePool: real numbers added tap by tap, the zero point before rounding."""
    steps = [
        torch.tensor(float(grid.scale), dtype=torch.float32)
        for grid in (op.grid(0), op.output_grid)
    ]
    zero, low, high = op.stored_range

    def mean(x: Tensor) -> Tensor:
        images = window.pad(as_images(x * steps[0], channels_last=False))
        inside = window.pad(torch.ones(1, *images_shape(op)))
        sums, counts = (
            sum_of(tap for row in taps_of(each, kernel, window) for tap in row)
            for each in (images, inside)
        )
        stored = ((sums / (math.prod(kernel) if counted else counts)) / steps[1] + zero).round_()
        return (stored.clamp_(low, high) - zero).reshape(x.shape[0], *op.view.output.shape)

    return Move(mean)


def softmax(op: OnnxOp, axis: int) -> Move:
    """QLinearSoftmax: exponentials from a table with a row's max at 255, added in float32.

    The scale of the result enters as a whole number of steps to one.
    """
    step, axis = float(step_of(op.grid(0))), axis % len(op.shape(0))
    count = op.shape(0)[axis]
    if overflows(float(op.output_grid.scale), count):
        raise op.refused("its kernel overflows: the scale of its result is too small")
    shift = max(0.0, math.log(float(np.finfo(np.float32).max) / count) - _RESERVED) / step
    table = torch.from_numpy(
        np.exp((np.arange(256, dtype=np.float64) - _EXPONENTS + shift) * step).astype(np.float32)
    )
    steps = torch.tensor(
        math.floor(float(np.float32(1.0) / step_of(op.output_grid))), dtype=torch.float32
    )
    zero, low, high = op.stored_range

    def normalized(x: Tensor) -> Tensor:
        rows = x.movedim(axis + 1, 0)
        exponentials = table[(rows - rows.amax(0) + _EXPONENTS).to(torch.int64)]
        sums = torch.zeros_like(exponentials[0])
        for each in exponentials:
            sums = sums + each
        stored = (exponentials * steps / sums).round_() + zero
        return (stored.clamp_(low, high) - zero).movedim(0, axis + 1)

    return Move(normalized)


def _single(op: OnnxOp, position: int) -> bool:
    return math.prod(op.shape(position)) == 1
