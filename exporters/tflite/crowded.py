"""Channels whose sums would not fit the accumulator.

Their weight scale is so small that the bias takes up all 32 bits.

Quantisers write them for channels that are dead: weights of nothing, on a scale of nothing, and a
bias that counts in that scale. Float arithmetic does not notice. Where the result of such a channel
is one integer, whatever comes in, its scale is free: weights of zero and the bias that makes that
integer say exactly the same. Otherwise the channel needs a larger scale, and with it other
integers.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from edgeq.brief import brief
from edgeq.exporters.tflite.biases import (
    ACCUMULATOR_MAX,
    LARGEST_INPUT,
    SCALE_TOLERANCE,
    accumulator_scale,
)
from edgeq.qdq.ir import QdqConstant
from edgeq.quant import QuantParams

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from edgeq.qdq.ir import QdqTensor

# an integer of the output is 2^10 steps of the accumulator of a channel that gives nothing else
_FINER = 10
_COARSEST = 31


@dataclass(frozen=True, slots=True, eq=False)
class CrowdedLayer:
    """What a layer computes with, its channels along one axis of the weights.

    Attributes:
        source: its input, on a grid.
        centered: the weights less their zero point.
        scale: of the weights, (channels,).
        bias: as real numbers, (channels,); None for none.
        output: its output, on a grid.
        axis: the axis of the output channels in ``centered``.
    """

    source: QdqTensor
    centered: NDArray[np.int16]
    scale: NDArray[np.float64]
    bias: NDArray[np.float64] | None
    output: QdqTensor
    axis: int

    __repr__ = brief

    def sums(self) -> NDArray[np.float64]:
        """The sum of the magnitudes of each channel's weights."""
        others = tuple(axis for axis in range(self.centered.ndim) if axis != self.axis)
        sums: NDArray[np.float64] = (
            np.abs(self.centered).sum(axis=others, dtype=np.int64).astype(np.float64)
        )
        return sums

    def crowded(self) -> NDArray[np.bool_]:
        """Which channels may leave 32 bits.

        Also after the shift to the left by which kernels begin to scale up.
        """
        product = self.scale * float(self.source.scale)
        bias = np.zeros_like(product) if self.bias is None else np.abs(self.bias) / product
        shift = np.maximum(np.frexp(product / float(self.output.scale))[1], 0)
        crowded: NDArray[np.bool_] = (
            self.sums() * LARGEST_INPUT + bias
        ) * 2.0**shift > ACCUMULATOR_MAX * (1 - SCALE_TOLERANCE)
        return crowded

    def ends(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """The smallest and the largest integer that each channel can give."""
        source = self.source
        furthest = max(abs(source.low - source.zero_point), abs(source.high - source.zero_point))
        reach = self.sums() * furthest * self.scale * float(source.scale)
        bias = np.zeros_like(reach) if self.bias is None else self.bias
        return self._result(bias - reach), self._result(bias + reach)

    def _result(self, reals: NDArray[np.float64]) -> NDArray[np.int64]:
        integers = np.rint(reals / float(self.output.scale)) + self.output.zero_point
        clipped: NDArray[np.int64] = np.clip(integers, self.output.low, self.output.high).astype(
            np.int64
        )
        return clipped


@dataclass(frozen=True, slots=True, eq=False)
class Spread:
    """A layer whose channels fit.

    Attributes:
        weights: integers with a scale for each channel.
        bias: int32; None for none.
        error: the largest error of a weight, in its own old steps; 0 where every result is what it
            was.
    """

    weights: QdqConstant
    bias: QdqConstant | None
    error: float


def spread(
    layer: CrowdedLayer, weights: QdqConstant, bias: QdqConstant | None, *, approximate: bool
) -> Spread | None:
    """A layer with room in its accumulators; None where it has that already, or cannot be given it.

    Args:
        layer: the layer.
        weights: its weights, for their name.
        bias: its bias, for its name.
        approximate: whether integers may become others.
    """
    crowded = layer.crowded()
    if not crowded.any():
        return None
    least, most = layer.ends()
    constant = crowded & (least == most)
    others = crowded & ~constant
    if (constant & (least != layer.output.zero_point)).any() and bias is None:
        return None  # cannot be: without a bias the one result is zero
    if others.any() and not approximate:
        return None
    scale, centered = layer.scale.copy(), layer.centered.astype(np.float64)
    reals = np.zeros_like(scale) if layer.bias is None else layer.bias.copy()
    scale[constant] = float(layer.output.scale) / 2.0**_FINER / float(layer.source.scale)
    reals[constant] = (least[constant] - layer.output.zero_point) * float(layer.output.scale)
    steps = _coarser(layer, others)
    if steps is None:
        return None
    factor = np.where(constant, np.inf, 2.0**steps)
    scale[others] *= factor[others]
    shape = [-1 if axis == layer.axis else 1 for axis in range(centered.ndim)]
    centered = np.rint(centered / factor.reshape(shape))
    integers = QdqConstant(
        weights.name,
        centered.astype(np.int8),
        QuantParams.of(scale.astype(np.float32), axis=layer.axis),
    )
    error = float((2.0 ** steps[others] / 2).max(initial=0.0))
    return Spread(
        integers, None if bias is None else _bias(bias.name, reals, layer.source, integers), error
    )


def _coarser(layer: CrowdedLayer, channels: NDArray[np.bool_]) -> NDArray[np.int64] | None:
    """How often to double the scale of each of some channels; None where nothing is enough."""
    doubled = np.zeros(channels.shape, np.int64)
    for _ in range(_COARSEST):
        scale = layer.scale * 2.0**doubled
        halved = np.rint(
            layer.centered
            / 2.0
            ** doubled.reshape(
                [-1 if axis == layer.axis else 1 for axis in range(layer.centered.ndim)]
            )
        )
        now = CrowdedLayer(
            layer.source, halved.astype(np.int16), scale, layer.bias, layer.output, layer.axis
        )
        wanting = now.crowded() & channels
        if not wanting.any():
            return doubled
        doubled[wanting] += 1
    return None


def _bias(
    name: str, reals: NDArray[np.float64], source: QdqTensor, weights: QdqConstant
) -> QdqConstant:
    product = accumulator_scale(source, weights)
    return QdqConstant(
        name,
        np.rint(reals / product).astype(np.int32),
        QuantParams.of(product.astype(np.float32), 0, "int32", axis=0),
    )
