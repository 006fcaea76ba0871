"""Channels whose sums would not fit the accumulator.

Their weight scale is so small that the bias takes up all 32 bits.

Quantisers write them for channels that are dead: weights of nothing, on a scale of nothing, and a
bias that counts in that scale. Float arithmetic does not notice. Where the result of such a channel
is one integer, whatever comes in, its scale is free: weights of zero and the bias that makes that
integer say exactly the same. Otherwise the channel needs a larger scale, and with it other
integers; its scale is doubled until the sums fit, or until no weight is left.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from edgeq.brief import brief
from edgeq.exporters.tflite.biases import (
    ACCUMULATOR_MAX,
    SCALE_TOLERANCE,
    accumulator_scale,
    input_ends,
    sum_ends,
)
from edgeq.qdq.ir import QdqConstant
from edgeq.quant import QuantParams

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from edgeq.qdq.ir import QdqTensor

# an integer of the output is 2^10 steps of the accumulator of a channel that gives nothing else
_FINER = 10
_COARSEST = 8  # doublings of a scale, after which weights of 8 bits are zero


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

    @property
    def rows(self) -> NDArray[np.int16]:
        """The weights with the output channels first."""
        return np.moveaxis(self.centered, self.axis, 0)

    @property
    def product(self) -> NDArray[np.float64]:
        """What a step of the sums stands for, (channels,)."""
        return self.scale * float(self.source.scale)

    def crowded(self) -> NDArray[np.bool_]:
        """Which channels may leave 32 bits.

        Also after the shift to the left by which kernels begin to scale up.
        """
        bias = 0.0 if self.bias is None else self.bias / self.product
        low, high = sum_ends(self.rows, self.source)
        reached = np.maximum(np.abs(low + bias), np.abs(high + bias))
        crowded: NDArray[np.bool_] = reached * 2.0 ** self.shift() > ACCUMULATOR_MAX * (
            1 - SCALE_TOLERANCE
        )
        return crowded

    def shift(self) -> NDArray[np.int64]:
        """By how many bits kernels shift the sums of each channel to the left."""
        exponents: NDArray[np.int64] = np.frexp(self.product / float(self.output.scale))[1]
        return np.maximum(exponents, 0)

    def ends(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """The smallest and the largest integer that each channel can give."""
        low, high = (end * self.product for end in sum_ends(self.rows, self.source))
        bias = np.zeros_like(low) if self.bias is None else self.bias
        return self._result(bias + low), self._result(bias + high)

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
        exact: the channels that say the same as before.
        rounded: the channels whose weights became others.
        error_lsb: the largest possible error of a result of these, in LSB of the output.
    """

    weights: QdqConstant
    bias: QdqConstant | None
    exact: tuple[int, ...]
    rounded: tuple[int, ...]
    error_lsb: float


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
    smallest, largest = layer.ends()
    constant = crowded & (smallest == largest)
    others = crowded & ~constant
    if (constant & (smallest != layer.output.zero_point)).any() and bias is None:
        return None  # cannot be: without a bias the one result is zero
    if others.any() and not approximate:
        return None
    reals = np.zeros_like(layer.scale) if layer.bias is None else layer.bias.copy()
    reals[constant] = (smallest[constant] - layer.output.zero_point) * float(layer.output.scale)
    doubled, empty = _coarser(layer, others)
    if (empty & (layer.shift() > 0)).any():
        return None  # its sums count in more than steps of the output: no scale is large enough
    empty |= constant
    # what lies farther out saturates all the same, and may not fit
    low, high = (
        (end - layer.output.zero_point) * float(layer.output.scale)
        for end in (layer.output.low - 1, layer.output.high + 1)
    )
    reals[empty] = np.clip(reals[empty], low, high)
    scale = layer.scale * 2.0**doubled
    scale[empty] = float(layer.output.scale) / 2.0**_FINER / float(layer.source.scale)
    centered = _rounded(layer, doubled, empty)
    integers = QdqConstant(
        weights.name,
        centered.astype(np.int8),
        QuantParams.of(scale.astype(np.float32), axis=layer.axis),
    )
    error = _error_lsb(layer, centered, scale)[others]
    return Spread(
        integers,
        None if bias is None else _bias(bias.name, reals, layer.source, integers),
        tuple(np.flatnonzero(constant).tolist()),
        tuple(np.flatnonzero(others).tolist()),
        float(error.max(initial=0.0)),
    )


def _coarser(
    layer: CrowdedLayer, channels: NDArray[np.bool_]
) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """How often to double the scale of each of some channels, and where no weight is left then."""
    doubled = np.zeros(channels.shape, np.int64)
    nothing = wanting = np.zeros(channels.shape, np.bool_)
    for _ in range(_COARSEST):
        now = CrowdedLayer(
            layer.source,
            _rounded(layer, doubled, nothing).astype(np.int16),
            layer.scale * 2.0**doubled,
            layer.bias,
            layer.output,
            layer.axis,
        )
        wanting = now.crowded() & channels
        if not wanting.any():
            return doubled, nothing
        doubled[wanting] += 1
    return doubled, wanting


def _rounded(
    layer: CrowdedLayer, doubled: NDArray[np.int64], empty: NDArray[np.bool_]
) -> NDArray[np.float64]:
    """The weights on doubled scales; zero in the channels that are to have none."""
    shape = [-1 if axis == layer.axis else 1 for axis in range(layer.centered.ndim)]
    factor = np.where(empty, np.inf, 2.0**doubled).reshape(shape)
    return np.rint(layer.centered / factor)


def _error_lsb(
    layer: CrowdedLayer, centered: NDArray[np.float64], scale: NDArray[np.float64]
) -> NDArray[np.float64]:
    """The largest possible error of each channel before it is rounded, in LSB of the output.

    Each weight's error times the farthest input, and half a step of the new bias.
    """
    new = np.moveaxis(centered, layer.axis, 0).reshape(len(scale), -1) * scale[:, np.newaxis]
    old = layer.rows.reshape(len(scale), -1) * layer.scale[:, np.newaxis]
    furthest = max(map(abs, input_ends(layer.source)))
    steps: NDArray[np.float64] = np.abs(new - old).sum(axis=1) * furthest + scale / 2
    return steps * float(layer.source.scale) / float(layer.output.scale)


def _bias(
    name: str, reals: NDArray[np.float64], source: QdqTensor, weights: QdqConstant
) -> QdqConstant:
    product = accumulator_scale(source, weights)
    return QdqConstant(
        name,
        np.rint(reals / product).astype(np.int32),
        QuantParams.of(product.astype(np.float32), 0, "int32", axis=0),
    )
