"""Sums, products and changes of grid of single integers, in fixed point and as ONNX has them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch

from edgeq.numerics.multipliers import product_multiplier, quantize_multiplier, sum_multipliers
from edgeq.targets.emulator.arithmetic.numerics import Factors, step_of
from edgeq.targets.emulator.arithmetic.requantize import requantize, rescale

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray
    from torch import Tensor

    from edgeq.quant import QuantParams
    from edgeq.targets.emulator.arithmetic.elementwise import Formula
    from edgeq.targets.emulator.arithmetic.numerics import OutputRange
    from edgeq.targets.emulator.hardware.machine import Rounding

_HEADROOM, _HEADROOM_16 = 20, 15


def total(
    first: QuantParams,
    second: QuantParams,
    output: QuantParams,
    output_range: OutputRange,
    rounding: Rounding,
    sign: int,
) -> Formula:
    """``a + sign * b``: both rescaled with headroom to one grid, then their sum to the output's."""
    bits = _HEADROOM_16 if output.dtype in ("int16", "uint16") else _HEADROOM
    multipliers = sum_multipliers(step_of(first), step_of(second), step_of(output), bits)
    one, other, both = (Factors.fixed([multiplier]) for multiplier in multipliers)

    def formula(a: Tensor, b: Tensor) -> Tensor:
        left, right = (
            rescale(a.to(torch.int64) << bits, one, rounding),
            rescale(b.to(torch.int64) << bits, other, rounding),
        )
        return requantize(left + sign * right, both, output_range, rounding)

    return formula


def product(
    first: QuantParams,
    second: QuantParams,
    output: QuantParams,
    output_range: OutputRange,
    rounding: Rounding,
) -> Formula:
    """``a * b``."""
    factors = Factors.fixed([product_multiplier(step_of(first), step_of(second), step_of(output))])
    return lambda a, b: requantize(
        a.to(torch.int64) * b.to(torch.int64), factors, output_range, rounding
    )


def prelu(
    source: QuantParams,
    slope: QuantParams,
    output: QuantParams,
    output_range: OutputRange,
    rounding: Rounding,
) -> Formula:
    """``a`` where it is not negative, else ``a * b``."""
    straight = Factors.fixed([quantize_multiplier(float(np.float32(source.scale / output.scale)))])
    bent = Factors.fixed(
        [
            quantize_multiplier(
                float(np.float32(np.float32(source.scale * slope.scale) / output.scale))
            )
        ]
    )

    def formula(x: Tensor, slopes: Tensor) -> Tensor:
        x, slopes = (one.to(torch.int64) for one in torch.broadcast_tensors(x, slopes))
        below = requantize(x * slopes, bent, output_range, rounding)
        return torch.where(x >= 0, requantize(x, straight, output_range, rounding), below)

    return formula


def regrid(ratio: float, output_range: OutputRange, rounding: Rounding) -> Formula:
    """``a`` on another grid, whose step is ``1 / ratio`` of its own."""
    factors = Factors.of(ratio)
    return lambda x: requantize(x.to(torch.int64), factors, output_range, rounding)


def in_float(
    function: Callable[..., NDArray[np.float32]],
    grids: list[QuantParams],
    output: QuantParams,
    output_range: OutputRange,
) -> Formula:
    """A real function from DequantizeLinear to QuantizeLinear, in float32, ties to even."""
    steps = [np.float32(grid.scale) for grid in grids]

    def formula(*operands: Tensor) -> Tensor:
        reals = [
            x.numpy().astype(np.float32) * step for x, step in zip(operands, steps, strict=True)
        ]
        with np.errstate(all="ignore"):  # infinities saturate
            return torch.from_numpy(quantized(function(*reals), output, output_range))

    return formula


def quantized(
    values: NDArray[np.float32], output: QuantParams, output_range: OutputRange
) -> NDArray[np.float32]:
    """The levels of real numbers: QuantizeLinear, its zero point taken off again."""
    # NaN gives the least, as in ONNX Runtime
    stepped = np.fmax(np.rint(values / np.float32(output.scale)), output_range.low)
    centered: NDArray[np.float32] = np.minimum(stepped, output_range.high).astype(np.float32)
    return centered
