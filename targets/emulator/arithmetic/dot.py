"""Sums of products: convolutions, fully connected layers and products of matrices.

Whole numbers are added in floating point, which is exact, in any order, as long as no sum leaves
the mantissa. How large sums can get is known from the weights, so float32 is taken where 24 bits
hold them all, and float64 with its 53 bits where not.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch.nn import functional as F

from edgeq.brief import brief
from edgeq.targets.emulator.arithmetic.requantize import requantize, requantize_and_count
from edgeq.targets.emulator.program import OverflowStats

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

    from edgeq.targets.emulator.arithmetic.accumulator import Accumulator
    from edgeq.targets.emulator.arithmetic.numerics import Factors, OutputRange
    from edgeq.targets.emulator.hardware.machine import Rounding
    from edgeq.targets.emulator.program import Log


@dataclass(frozen=True, slots=True, eq=False)
class Finish:
    """What turns the sums of a layer into its output.

    Attributes:
        factors: one, or one a channel.
        output_range: the bounds of the output's levels, its zero point 0 as levels have it.
        rounding: how.
    """

    factors: Factors
    output_range: OutputRange
    rounding: Rounding

    def __call__(self, sums: Tensor, axis: int) -> Tensor:
        """The levels of the output; ``axis`` is that of the channels."""
        return requantize(sums, self.factors, self.output_range, self.rounding, axis)

    def counted(self, sums: Tensor, axis: int, name: str, log: Log) -> Tensor:
        """The same, with the results that had to be clipped counted for a layer."""
        centered, clipped = requantize_and_count(
            sums, self.factors, self.output_range, self.rounding, axis
        )
        log.add(name, OverflowStats(clipped=clipped))
        return centered


@dataclass(frozen=True, slots=True)
class SlidingWindow:
    """How a filter moves over an image.

    Each pair is (height, width), padding is (top, left, bottom, right).
    """

    stride: tuple[int, int] = (1, 1)
    dilation: tuple[int, int] = (1, 1)
    padding: tuple[int, int, int, int] = (0, 0, 0, 0)
    groups: int = 1

    def pad(self, images: Tensor, value: float = 0.0) -> Tensor:
        """Images, (samples, channels, height, width), with what stands around them."""
        top, left, bottom, right = self.padding
        if not any(self.padding):
            return images
        return F.pad(images, (left, right, top, bottom), value=value)


@dataclass(frozen=True, slots=True, eq=False)
class Convolution:
    """A convolution of images.

    Attributes:
        weights: levels, (out, in / groups, height, width), of the accumulator's type.
        bias: levels on the grid of the sums, (out,), likewise; None for none.
        window: how they move.
        channels_last: whether images are (…, height, width, channels).
        accumulator: where the products are added.
        finish: from sums to output; None keeps the sums.
    """

    weights: Tensor
    bias: Tensor | None
    window: SlidingWindow
    channels_last: bool
    accumulator: Accumulator
    finish: Finish

    __repr__ = brief

    def __call__(self, operands: Sequence[Tensor], log: Log) -> Tensor:
        """Compute the result; see :class:`edgeq.targets.emulator.program.StepKernel`."""
        images = as_images(operands[0], channels_last=self.channels_last)
        sums = self.sums(images, log)
        found = sums.permute(0, 2, 3, 1) if self.channels_last else sums
        centered = self.finish.counted(
            found, 3 if self.channels_last else 1, self.accumulator.name, log
        )
        return centered.reshape(operands[0].shape[0], -1, *centered.shape[1:])

    def sums(self, images: Tensor, log: Log) -> Tensor:
        """The sums for images in NCHW."""
        if not self.accumulator.fits:
            return self._step_by_step(images, log)
        top, left, bottom, right = self.window.padding
        even = (top, left) == (bottom, right) and min(top, left) >= 0
        source = images if even else self.window.pad(images)
        sums = F.conv2d(
            source.to(self.weights.dtype),
            self.weights,
            self.bias,
            self.window.stride,
            (top, left) if even else 0,
            self.window.dilation,
            self.window.groups,
        )
        return self.accumulator.exact(sums, self.weights[0].numel(), log)

    def magnitudes(self, images: Tensor) -> Tensor:
        """The sums of the magnitudes of the products, for images in NCHW."""
        padded = self.window.pad(images).abs().to(self.weights.dtype)
        return F.conv2d(
            padded,
            self.weights.abs(),
            None,
            self.window.stride,
            0,
            self.window.dilation,
            self.window.groups,
        )

    def _step_by_step(self, images: Tensor, log: Log) -> Tensor:
        """Tap by tap in the order in which a loop over rows, columns and channels meets them."""
        out, depth, height, width = self.weights.shape
        groups, window = self.window.groups, self.window
        padded = window.pad(images)
        spans = [
            (size - 1) * dilation + 1
            for size, dilation in zip((height, width), window.dilation, strict=True)
        ]
        rows_out, columns_out = (
            (padded.shape[2 + i] - spans[i]) // window.stride[i] + 1 for i in (0, 1)
        )
        taps = F.unfold(
            padded.to(torch.float32), (height, width), window.dilation, 0, window.stride
        )
        taps = taps.reshape(len(images), groups, depth, height * width, -1).permute(1, 0, 4, 3, 2)
        filters = (
            self.weights.to(torch.float32)
            .reshape(groups, out // groups, depth, height * width)
            .transpose(2, 3)
        )
        start = None if self.bias is None else self.bias.reshape(groups, -1)
        found = [
            self.accumulator.step_by_step(
                taps[g].reshape(-1, depth * height * width),
                filters[g].reshape(out // groups, -1),
                None if start is None else start[g],
                log,
            )
            for g in range(groups)
        ]
        return (
            torch.cat(found, 1).reshape(len(images), rows_out, columns_out, out).permute(0, 3, 1, 2)
        )


@dataclass(frozen=True, slots=True, eq=False)
class TransposedConvolution:
    """A convolution that spreads each input over its neighbourhood.

    A convolution of the input with zeros between.

    Attributes:
        inner: the convolution, of stride 1, of the spread input; its padding may be negative, which
            cuts.
        stride: how far the inputs are spread.
    """

    inner: Convolution
    stride: tuple[int, int]

    def __call__(self, operands: Sequence[Tensor], log: Log) -> Tensor:
        """Compute the result; see :class:`edgeq.targets.emulator.program.StepKernel`."""
        last = self.inner.channels_last
        images = as_images(operands[0], channels_last=last)
        count, channels, height, width = images.shape
        spread = images.new_zeros(
            count, channels, (height - 1) * self.stride[0] + 1, (width - 1) * self.stride[1] + 1
        )
        spread[:, :, :: self.stride[0], :: self.stride[1]] = images
        spread = spread[None].permute(0, 1, 3, 4, 2) if last else spread[None]
        return self.inner((spread,), log).reshape(operands[0].shape[0], -1, *self._shape(spread))

    def _shape(self, spread: Tensor) -> tuple[int, ...]:
        top, left, bottom, right = self.inner.window.padding
        height, width = spread.shape[2:4] if self.inner.channels_last else spread.shape[3:5]
        out, _, rows, columns = self.inner.weights.shape
        size = (height + top + bottom - rows + 1, width + left + right - columns + 1)
        return (*size, out) if self.inner.channels_last else (out, *size)


@dataclass(frozen=True, slots=True, eq=False)
class Dense:
    """A product of rows with a constant matrix.

    Attributes:
        weights: levels, (out, in), of the accumulator's type.
        bias: levels, (out,), likewise; None for none.
        accumulator: where the products are added.
        finish: from sums to output.
        shape: of the result, with the file's batch of one; the rows of a flattened input are found
            from it.
    """

    weights: Tensor
    bias: Tensor | None
    accumulator: Accumulator
    finish: Finish
    shape: tuple[int, ...]

    __repr__ = brief

    def __call__(self, operands: Sequence[Tensor], log: Log) -> Tensor:
        """Compute the result; see :class:`edgeq.targets.emulator.program.StepKernel`."""
        rows = operands[0].reshape(-1, self.weights.shape[1])
        centered = self.finish.counted(self._sums(rows, log), 1, self.accumulator.name, log)
        return centered.reshape(operands[0].shape[0], *self.shape)

    def _sums(self, rows: Tensor, log: Log) -> Tensor:
        if not self.accumulator.fits:
            return self.accumulator.step_by_step(
                rows, self.weights.to(torch.float32), self.bias, log
            )
        sums = F.linear(rows.to(self.weights.dtype), self.weights, self.bias)
        return self.accumulator.exact(sums, rows.shape[1], log)


@dataclass(frozen=True, slots=True, eq=False)
class Product:
    """A product of two tensors of matrices, either of them perhaps transposed.

    Attributes:
        transposed: whether each operand has its last two dimensions swapped in the file.
        accumulator: where the products are added.
        finish: from sums to output.
        shape: of the result, with the file's batch of one.
    """

    transposed: tuple[bool, bool]
    accumulator: Accumulator
    finish: Finish
    shape: tuple[int, ...]

    def __call__(self, operands: Sequence[Tensor], log: Log) -> Tensor:
        """Compute the result; see :class:`edgeq.targets.emulator.program.StepKernel`."""
        rank = max(operand.ndim for operand in operands)
        first, second = (
            self._matrix(operand, rank, turned)
            for operand, turned in zip(operands, self.transposed, strict=True)
        )
        samples = max(len(first), len(second))
        centered = self.finish.counted(
            self._sums(first, second, log), -1, self.accumulator.name, log
        )
        return centered.reshape(samples, *self.shape)

    def _matrix(self, operand: Tensor, rank: int, turned: bool) -> Tensor:
        full = operand.reshape(operand.shape[0], *[1] * (rank - operand.ndim), *operand.shape[1:])
        return (full.mT if turned else full).to(self.accumulator.dtype)

    def _sums(self, first: Tensor, second: Tensor, log: Log) -> Tensor:
        if self.accumulator.fits:
            return self.accumulator.exact(first @ second, first.shape[-1], log)
        lead = torch.broadcast_shapes(first.shape[:-2], second.shape[:-2])
        left = first.expand(*lead, *first.shape[-2:]).reshape(-1, *first.shape[-2:])
        right = second.expand(*lead, *second.shape[-2:]).reshape(-1, *second.shape[-2:])
        found = [
            self.accumulator.step_by_step(a, b.T, None, log)
            for a, b in zip(left, right, strict=True)
        ]
        return torch.stack(found).reshape(*lead, first.shape[-2], second.shape[-1])


def as_images(values: Tensor, *, channels_last: bool) -> Tensor:
    """Levels of images, (samples, 1, …) in either layout, as NCHW without copying."""
    flat = values.reshape(-1, *values.shape[2:])
    return flat.permute(0, 3, 1, 2) if channels_last else flat
