"""The integer weights and bias of a layer, by any weight method."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from edgeq.brief import brief
from edgeq.calibration.grids import MIN_STEP
from edgeq.errors import ArtefactError
from edgeq.qdq.ort_x86.saturation import in_kernel_order, pair_safe_scale
from edgeq.quant import QuantizedTensor, QuantParams

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from edgeq.calibration.weight_methods import WeightQuantizer
    from edgeq.calibration.weight_methods.layer import FloatLayer

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


def quantize_layer(layer: FloatLayer, method: WeightQuantizer) -> IntegerParameters:
    """Quantise a layer's weights by a method, and its bias at the product of the two scales.

    A scale grows where the bias would otherwise have more than :data:`MAX_BIAS` steps, and where
    pairs of symmetric weights would exceed the layer's limit.

    Raises:
        ArtefactError: the bias has no scale in float32.
    """
    scale = _fitting_bias(layer, method.scale(layer))
    if layer.pair_limit is not None and method.symmetric:
        scale = pair_safe_scale(in_kernel_order(layer.weight), scale, layer.pair_limit)
    weight = method.quantize(layer, scale)
    return IntegerParameters(weight, _integer_bias(layer, weight.params))


def _fitting_bias(layer: FloatLayer, scale: NDArray[np.float64]) -> NDArray[np.float32]:
    biases = layer.bias_magnitudes() if scale.ndim else layer.bias_magnitudes().max()
    # float32 rounds scales by 2^-24: 2^6 of 2^30 steps
    fitting = biases / (float(layer.input_scale) * (MAX_BIAS - 2**8))
    return np.asarray(np.maximum(np.maximum(scale, fitting), MIN_STEP), np.float32)


def _integer_bias(layer: FloatLayer, weight: QuantParams) -> QuantizedTensor | None:
    if layer.bias is None:
        return None
    with np.errstate(over="ignore"):
        product = np.asarray(np.float32(layer.input_scale) * weight.scale, np.float32)
    if not np.isfinite(product).all():
        raise ArtefactError(
            f"the layer {layer.name!r} computes beyond float32",
            hint="look at the float model and the data: one is broken",
        )
    params = QuantParams.of(product, 0, "int32", axis=weight.axis)
    steps = np.rint(layer.bias.astype(np.float64) / params.scale.astype(np.float64))
    return QuantizedTensor(steps.astype(np.int32), params)
