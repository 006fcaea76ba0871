"""The constants of a layer of the integer view, as one machine holds them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from edgeq.brief import brief
from edgeq.qdq.ir import QdqConstant
from edgeq.targets.emulator.arithmetic.requantize import to_one_scale
from edgeq.targets.emulator.onnx.op import centered_of

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from edgeq.qdq.ir import FoldedNorm
    from edgeq.targets.emulator.onnx.op import OnnxOp

_SCALE_TOLERANCE = 2.0**-21  # of the scale of a bias: 4 units in the last place of float32


@dataclass(frozen=True, slots=True, eq=False)
class Weights:
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

    __repr__ = brief


def weights_of(op: OnnxOp, *, channel_axis: int, groups: int = 1) -> Weights:
    """A layer's weights and bias, output channels first.

    Args:
        op: the layer.
        channel_axis: where the file has the output channels of the weights.
        groups: of a transposed convolution.

    Raises:
        TargetError: computed weights, or scales along another axis.
    """
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
    if op.in_float and op.view.norm is not None:
        return _without_normalization(op.view.norm, centered)
    bias, steps = _bias(op, centered.shape[0], scale)
    found = Weights(centered, scale, bias, steps)
    return (
        found
        if op.profile.per_channel or not scale.ndim
        else _on_one_scale(found, op.profile.weight_bits[1])
    )


def _without_normalization(norm: FoldedNorm, centered: NDArray[np.float32]) -> Weights:
    """A layer as the file has it, and behind it the normalisation that the view folded into it."""
    gain, shift, scale = norm.gain, norm.shift, norm.scale
    if scale is None:  # it stood alone
        return Weights(np.ones_like(centered), np.asarray(1, np.float32), None, None, gain, shift)
    signs = np.where(gain < 0, -1, 1).astype(np.float32).reshape(-1, *[1] * (centered.ndim - 1))
    reals = None if norm.bias is None else np.broadcast_to(norm.bias, gain.shape)
    one = scale if scale.size > 1 else scale.reshape(())
    return Weights(centered * signs, one, reals, None, gain, shift)


def _on_one_scale(constants: Weights, bits: int) -> Weights:
    """The constants as a machine takes them that has no scales for channels.

    Rounded to one power of two.
    """
    centered, scale = to_one_scale(constants.centered.astype(np.int64), constants.scale, bits)
    steps = (
        None
        if constants.steps is None
        else np.rint(constants.steps * constants.scale.astype(np.float64) / scale)
    )
    return Weights(
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
    wide = np.broadcast_to(operand.dequantized().reshape(-1), channels)
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
