"""From ranges and float weights to grids and integers.

A range of no width cannot have a step. A tensor that was zero throughout calibration gets the step
of the range [0, 1]; a step is never below :data:`MIN_STEP`, so that no product of two steps leaves
float32.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from edgeq.brief import brief
from edgeq.errors import ArtefactError
from edgeq.qdq.ort_x86.saturation import in_kernel_order, pair_safe_scale
from edgeq.quant import QuantizedTensor, QuantParams

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from edgeq.network.placement import GridSpec

MIN_STEP = 2.0**-60
MAX_BIAS = 2**30
"""The most steps a bias may have: half of what int32 holds; the other half is the accumulator's."""


@dataclass(frozen=True, slots=True, eq=False)
class IntegerParameters:
    """A layer's constants as an integer runtime stores them.

    Attributes:
        weight: (out, ...); int8 and symmetric, or uint8 with a zero point.
        bias: int32, (out,), at scale ``input scale * weight scale``; None for none.
    """

    weight: QuantizedTensor
    bias: QuantizedTensor | None

    __repr__ = brief


def activation_grid(spec: GridSpec, low: float, high: float) -> QuantParams:
    """The uint8 grid of an activation whose values lie in a range.

    Unsigned: zero point 0, step ``high / qmax``. Signed: the range is widened to hold zero, the
    step is its width over ``qmax``, and the zero point is the integer nearest to ``-low / step``,
    so that zero is exact.

    Args:
        spec: width and sign.
        low: the least value.
        high: the greatest value.
    """
    qmax = 2**spec.bits - 1
    bottom, top = (min(low, 0.0) if spec.signed else 0.0), max(high, 0.0)
    step = np.array(
        max((top - bottom) / qmax, MIN_STEP) if top > bottom else 1.0 / qmax, np.float32
    )
    zero_point = int(np.clip(np.rint(-bottom / float(step)), 0, qmax))
    return QuantParams.of(step, zero_point, "uint8", 0, qmax)


def integer_parameters(
    weight: NDArray[np.float32],
    bias: NDArray[np.float32] | None,
    input_scale: NDArray[np.float32],
    *,
    bits: int,
    per_channel: bool,
    layer: str,
    pair_limit: int | None = None,
) -> IntegerParameters:
    """Quantise a layer's weights symmetrically, round half to even, and its bias at the product of the two scales.

    A weight scale is enlarged where the bias would otherwise have more than :data:`MAX_BIAS` steps.

    Args:
        weight: (out, ...).
        bias: (out,).
        input_scale: the step of the layer's input, shape ().
        bits: width of the weights, -(2^(bits-1) - 1) to 2^(bits-1) - 1.
        per_channel: whether each output channel has its own scale.
        layer: its name, for messages.
        pair_limit: what a pair of weights may add up to, so that no x86 kernel saturates; see
            :mod:`edgeq.qdq.ort_x86.saturation`. None for any sum.

    Raises:
        ArtefactError: the bias has no scale in float32.
    """
    qmax = 2 ** (bits - 1) - 1
    magnitudes = np.abs(weight.astype(np.float64)).reshape(len(weight), -1).max(axis=1)
    scale = _weight_scale(
        magnitudes, _magnitudes(bias, len(weight)), float(input_scale), qmax, per_channel
    )
    if pair_limit is not None:
        scale = pair_safe_scale(in_kernel_order(weight), scale, pair_limit)
    params = QuantParams.of(scale, 0, "int8", -qmax, qmax, 0 if per_channel else None)
    return IntegerParameters(
        QuantizedTensor(params.quantize(weight), params),
        _integer_bias(bias, input_scale, params, layer),
    )


def affine_parameters(
    weight: NDArray[np.float32],
    bias: NDArray[np.float32] | None,
    input_scale: NDArray[np.float32],
    *,
    bits: int,
    layer: str,
) -> IntegerParameters:
    """Quantise a layer's weights from the least to the greatest, zero among them, with one scale and zero point for all.

    TensorFlow's ``MIN_FIRST``: the step is the range over ``2^bits - 1``, and weights and the zero
    point are rounded half away from zero. A bias that would not fit enlarges the step as in
    :func:`integer_parameters`.

    Args:
        weight: (out, ...).
        bias: (out,).
        input_scale: the step of the layer's input, shape ().
        bits: width of the weights, 0 to 2^bits - 1.
        layer: its name, for messages.

    Raises:
        ArtefactError: the bias has no scale in float32.
    """
    qmax = 2**bits - 1
    low, high = min(float(weight.min()), 0.0), max(float(weight.max()), 0.0)
    scale = _weight_scale(
        np.array([high - low]), _magnitudes(bias, 1), float(input_scale), qmax, per_channel=False
    )
    zero_point = -int(_round_away(np.float64(low / float(scale))))
    params = QuantParams.of(scale, zero_point, "uint8", 0, qmax)
    levels = _round_away(weight.astype(np.float64) / float(scale)) + zero_point
    integers = QuantizedTensor(np.clip(levels, 0, qmax).astype(np.uint8), params)
    return IntegerParameters(integers, _integer_bias(bias, input_scale, params, layer))


def _round_away(x: NDArray[np.float64] | np.float64) -> NDArray[np.float64]:
    """To the nearest integer, halves away from zero."""
    return np.asarray(np.copysign(np.floor(np.abs(x) + 0.5), x))


def _magnitudes(bias: NDArray[np.float32] | None, channels: int) -> NDArray[np.float64]:
    return np.zeros(channels) if bias is None else np.abs(bias.astype(np.float64))


def _integer_bias(
    bias: NDArray[np.float32] | None,
    input_scale: NDArray[np.float32],
    weight: QuantParams,
    layer: str,
) -> QuantizedTensor | None:
    if bias is None:
        return None
    with np.errstate(over="ignore"):
        product = np.asarray(np.float32(input_scale) * weight.scale, np.float32)
    if not np.isfinite(product).all():
        raise ArtefactError(
            f"the layer {layer!r} computes beyond float32",
            hint="look at the float model and the data: one is broken",
        )
    params = QuantParams.of(product, 0, "int32", axis=weight.axis)
    steps = np.rint(bias.astype(np.float64) / params.scale.astype(np.float64)).astype(np.int32)
    return QuantizedTensor(steps, params)


def _weight_scale(
    magnitudes: NDArray[np.float64],
    biases: NDArray[np.float64],
    input_scale: float,
    qmax: int,
    per_channel: bool,
) -> NDArray[np.float32]:
    """The scale of each channel, or of all.

    A channel of zeros takes that of the layer's coarsest.
    """
    if not per_channel:
        magnitudes, biases = magnitudes.max(keepdims=True), biases.max(keepdims=True)
    steps = magnitudes / qmax
    # all zero: 16 bits for the bias
    coarsest = steps.max() or biases.max() / (input_scale * 2**15) or 1.0 / qmax
    steps = np.where(steps > 0.0, steps, coarsest)
    # float32 rounds scales by 2^-24: 2^6 of 2^30 steps
    fitting = biases / (input_scale * (MAX_BIAS - 2**8))
    scale = np.maximum(np.maximum(steps, fitting), MIN_STEP).astype(np.float32)
    return scale if per_channel else scale.reshape(())
