"""Layers as maps of real numbers, and what they do to errors."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch.nn import functional as F

from edgeq.bounding.norms import grouped_norm, matrix_norm
from edgeq.brief import brief
from edgeq.deploy.bounds.drift.signal import Exact, both, l2

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray
    from torch import Tensor

    from edgeq.deploy.bounds.drift.signal import Signal
    from edgeq.targets.emulator.arithmetic.dot import SlidingWindow

    Apply = Callable[[Tensor, Tensor], Tensor]

_SMALL = 12  # pixels


@dataclass(frozen=True, slots=True, eq=False)
class Filters:
    """The filters of a convolution of images.

    Attributes:
        weight: real, (out, in / groups, height, width); of a transposed one (in, out / groups, …).
        window: how they move; of a transposed one, what is cut off its result.
        transposed: whether it is the adjoint of the convolution with these filters.
    """

    weight: NDArray[np.float64]
    window: SlidingWindow
    transposed: bool = False

    __repr__ = brief


@dataclass(frozen=True, slots=True, eq=False)
class LinearMap:
    """A layer.

    Attributes:
        apply: from an input, (samples, *shape), and weights to the output, float64.
        weight: the real weights, float64.
        bias: real, shaped to be added to the output; None for none.
        bias_step: half a step of the bias, which is what rounding it can have cost; likewise.
        norm: an upper bound of its norm in l2.
        filters: of a convolution of images; None for another layer.
    """

    apply: Apply
    weight: Tensor
    bias: Tensor | None
    bias_step: Tensor | None
    norm: float
    filters: Filters | None = None

    __repr__ = brief
    computes = True

    def values(self, operands: Sequence[Tensor]) -> Tensor:
        """The output with its bias; see :class:`Effect`."""
        y = self.apply(operands[0], self.weight)
        return y if self.bias is None else y + self.bias

    def exact(self, sources: Sequence[Signal]) -> Exact:
        """Errors through the magnitudes of the weights, and through the norm; see Effect."""
        (source,) = sources
        error, norm = self.apply(source.error, self.weight.abs()), self.norm * source.norm
        added = torch.zeros_like(norm)
        if self.bias_step is not None:
            error = error + self.bias_step
            added = l2(self.bias_step.expand_as(error))
        return Exact(*both(self.values, sources), error, norm + added, added)


@dataclass(frozen=True, slots=True)
class Bias:
    """A bias, shaped to be added to (samples, *output); None for none.

    Attributes:
        real: its real numbers.
        half_step: half a step of each; None where it was not rounded.
    """

    real: Tensor | None = None
    half_step: Tensor | None = None

    __repr__ = brief


def bias_of(
    integers: NDArray[np.integer], steps: NDArray[np.floating], rank: int, axis: int
) -> Bias:
    """A bias of integers.

    Args:
        integers: one a channel, zero point taken off.
        steps: one, or one a channel.
        rank: of the output.
        axis: of its channels; negative ones count from behind.
    """
    shape = [1] * (rank + 1)
    shape[axis + 1 if axis >= 0 else axis] = -1
    scale = np.broadcast_to(steps.astype(np.float64).reshape(-1), integers.reshape(-1).shape)
    real = torch.from_numpy(integers.reshape(-1).astype(np.float64) * scale).reshape(shape)
    return Bias(real, torch.from_numpy(scale / 2).reshape(shape))


@dataclass(frozen=True, slots=True)
class Layout:
    """How a format has its images.

    Attributes:
        shape: of the output, with its batch.
        images: from (samples, *input) to (images, channels, height, width).
        channels_last: whether the output's channels stand behind.
    """

    shape: tuple[int, ...]
    images: Callable[[Tensor], Tensor]
    channels_last: bool

    def stored(self, images: Tensor, samples: int) -> Tensor:
        """From images, channels first, to the output, (samples, *shape)."""
        found = images.permute(0, 2, 3, 1) if self.channels_last else images
        return found.reshape(samples, *self.shape)


def convolution(filters: Filters, layout: Layout, size: tuple[int, int], bias: Bias) -> LinearMap:
    """A convolution; ``size`` is that of its images, or of its results where it is transposed."""
    weight, window = np.ascontiguousarray(filters.weight), filters.window
    # of a large image the transform has many frequencies, and the bound for all sizes is as good
    small = size if max(size) <= _SMALL else None
    norm = grouped_norm(weight, window.groups, window.dilation, small)
    apply = _adjoint(window, layout, size) if filters.transposed else _forward(window, layout)
    return LinearMap(apply, torch.from_numpy(weight), bias.real, bias.half_step, norm, filters)


def _forward(window: SlidingWindow, layout: Layout) -> Apply:
    def apply(x: Tensor, weight: Tensor) -> Tensor:
        padded = window.pad(layout.images(x))
        found = F.conv2d(padded, weight, None, window.stride, 0, window.dilation, window.groups)
        return layout.stored(found, len(x))

    return apply


def _adjoint(window: SlidingWindow, layout: Layout, size: tuple[int, int]) -> Apply:
    top, left, _, _ = window.padding

    def apply(x: Tensor, weight: Tensor) -> Tensor:
        whole = F.conv_transpose2d(
            layout.images(x), weight, None, window.stride, 0, 0, window.groups, window.dilation
        )
        down, right = (size[i] - whole.shape[i - 2] + window.padding[i] for i in (0, 1))
        return layout.stored(F.pad(whole, (-left, right, -top, down)), len(x))

    return apply


def product(matrix: NDArray[np.float64], shape: tuple[int, ...], bias: Bias) -> LinearMap:
    """A fully connected layer of rows; the matrix is (out, in)."""

    def apply(x: Tensor, weight: Tensor) -> Tensor:
        return F.linear(x.reshape(-1, weight.shape[1]), weight).reshape(len(x), *shape)

    return LinearMap(
        apply,
        torch.from_numpy(np.ascontiguousarray(matrix)),
        bias.real,
        bias.half_step,
        matrix_norm(matrix),
    )
