"""The grids of activations and constants.

Found from the range that an observer saw, prescribed by kernels, or fitted to a constant.

A range of no width cannot have a step. A tensor that was zero throughout calibration gets the step
of the range [0, 1]; a step is never below :data:`MIN_STEP`, so that no product of two steps leaves
float32.
"""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING

import numpy as np

from edgeq.calibration._nodes import integer, shape_of
from edgeq.qdq.ort_x86.softmax import smallest_scale
from edgeq.quant import QuantParams

if TYPE_CHECKING:
    from collections.abc import Mapping

    import onnx_ir as ir
    from numpy.typing import NDArray

    from edgeq.network.placement import GridSpec, Placement

MIN_STEP = 2.0**-60
_ONE = QuantParams.of(2.0**-8, 0, "uint8")
PIXELS = QuantParams.of(1.0, 0, "uint8")
"""The grid whose integers are the pixels themselves."""
_BOTH_SIGNS = QuantParams.of(2.0**-7, 128, "uint8")
_LOGARITHM = QuantParams.of(2.0**-4, 255, "uint8")
_PRESCRIBED: Mapping[str, QuantParams] = {
    "Sigmoid": _ONE,
    "Softmax": _ONE,
    "Tanh": _BOTH_SIGNS,
    "LogSoftmax": _LOGARITHM,
}
# of the prescribed range: values within half of it have a step twice as fine on a grid of their own
_WORTH = 0.5
_FINEST_SOFTMAX = 2.0**-13
_BITS = 8


def activation_grid(spec: GridSpec, low: float, high: float) -> QuantParams:
    """The grid of an activation whose values lie in a range.

    Of up to 8 bits: uint8. Unsigned: zero point 0, step ``high / qmax``. Signed: the range is
    widened to hold zero, the step is its width over ``qmax``, and the zero point is the integer
    nearest to ``-low / step``, so that zero is exact. Of 16 bits: int16 around zero, the one that
    integer kernels know.

    Args:
        spec: width and sign.
        low: its minimum.
        high: its maximum.
    """
    if spec.bits > _BITS:
        return _around_zero(max(abs(low), abs(high)))
    qmax = 2**spec.bits - 1
    bottom, top = (min(low, 0.0) if spec.signed else 0.0), max(high, 0.0)
    step = np.array(
        max((top - bottom) / qmax, MIN_STEP) if top > bottom else 1.0 / qmax, np.float32
    )
    zero_point = int(np.clip(np.rint(-bottom / float(step)), 0, qmax))
    return QuantParams.of(step, zero_point, "uint8", 0, qmax)


def _around_zero(most: float) -> QuantParams:
    """The int16 grid that reaches a magnitude."""
    steps = 2**15 - 1
    return QuantParams.of(max(most / steps, MIN_STEP) if most else 1.0 / steps, 0, "int16")


def prescribe(
    grids: dict[str, QuantParams],
    placement: Placement,
    makers: Mapping[str, ir.Node],
    known: Mapping[str, QuantParams] = MappingProxyType({}),
) -> None:
    """Put tensors on grids that are known beforehand, in place.

    What Sigmoid, Tanh and softmax make comes onto the grids that integer kernels write.

    Kernels that write another grid do so in a second operator, and a logarithm of a softmax on no
    other at all. A tensor that shares its grid or has fewer bits is left alone, and so is one that
    fills less than half of the prescribed range.

    Args:
        grids: the grid of each quantiser.
        placement: where they stand.
        makers: the node that makes each tensor.
        known: further tensors with their grids.
    """
    members = list(placement.tensors.values()) + list(placement.edges.values())
    for tensor, grid in placement.tensors.items():
        kind = makers[tensor].op_type if tensor in makers else ""
        fixed = known.get(tensor, _PRESCRIBED.get(kind))
        if fixed is None or members.count(grid) > 1 or placement.grids[grid].bits != _BITS:
            continue
        found = grids[grid]
        if kind == "LogSoftmax":
            # no kernel writes what is below it
            grids[grid] = fixed if float(found.scale) <= float(fixed.scale) else found
        elif float(found.scale) > _WORTH * float(fixed.scale):
            grids[grid] = fixed
        elif kind == "Softmax":
            grids[grid] = QuantParams.of(
                max(float(found.scale), _finest_softmax(makers[tensor])), 0, "uint8"
            )


def bound_reciprocals(
    grids: dict[str, QuantParams],
    placement: Placement,
    makers: Mapping[str, ir.Node],
    sources: Mapping[str, str],
) -> None:
    """End the grids of reciprocals at that of one step of what they are taken of, in place.

    ``1 / x`` where ``x`` is almost nothing has no bound, and would leave all others no steps. What
    lies below the step of ``x`` is zero in integers. Such a grid gets 16 bits, for most of it
    belongs to the smallest divisors.

    Args:
        grids: the grid of each quantiser.
        placement: where they stand.
        makers: the node that makes each tensor.
        sources: the tensor, with a grid of its own, that a function is of.
    """
    for tensor, grid in placement.tensors.items():
        if tensor not in makers or makers[tensor].op_type != "Reciprocal" or tensor not in sources:
            continue
        most = 1 / float(grids[placement.tensors[sources[tensor]]].scale)
        found = grids[grid]
        if float(found.scale) * (found.qmax - int(found.zero_point)) > most:
            grids[grid] = _around_zero(most)


def _finest_softmax(node: ir.Node) -> float:
    """The smallest step that both TFLite's and ONNX Runtime's integer kernels can write."""
    shape = shape_of(node.inputs[0])
    count = None if shape is None else shape[integer(node, "axis", -1)]
    return max(_FINEST_SOFTMAX, smallest_scale(count or 1))


def constant_grid(values: NDArray[np.generic], *, wide: bool = False) -> QuantParams:
    """The grid of a constant operand: uint8, or int16 beside activations of 16 bits.

    Of those of 8 bits that hold its range, the one that its numbers lie on best.

    Numbers that are multiples of one another, as the shares of windows are, lie on some grid
    exactly.
    """
    if wide:
        return _around_zero(float(np.abs(values).max(initial=0.0)))
    reals = np.unique(values.astype(np.float64))
    low, high = min(reals[0], 0.0), max(reals[-1], 0.0)
    if low == high:
        return QuantParams.of(1.0 / 255, 0, "uint8")
    if reals.size > 2**12:
        reals = reals[:: reals.size // 2**12]
    best, lowest = None, np.inf
    for steps in range(255, 0, -1):
        scale = np.float32((high - low) / steps)
        zero = int(np.rint(-low / float(scale)))
        if scale <= 0 or not np.isfinite(scale) or zero > 255:
            continue
        grid = QuantParams.of(float(scale), zero, "uint8")
        error = float(
            np.abs(grid.dequantize(grid.quantize(reals.astype(np.float32))) - reals).max()
        )
        if error < lowest * 0.99:
            best, lowest = grid, error
    return best if best is not None else QuantParams.of(2.0**-60, 0, "uint8")
