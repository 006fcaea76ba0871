"""Sums of products as a QDQ model asks for them.

In float32 between its integers, decided by exact integers wherever that can.

The exact sum of integers says where a result lies on the output's grid. Only where the error that
float32 may have made on the way reaches a tie is the float arithmetic itself gone through, in the
order of ``float_order``. The error of a sum of ``n`` products is at most ``n u`` of the sum of
their magnitudes, ``u = 2**-24`` (Higham, Accuracy and Stability of Numerical
Algorithms, 2002, Sec. 3.1); for dequantised operands, bias, normalisation and the last division ten
more are counted.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from edgeq.brief import brief
from edgeq.targets.emulator.arithmetic.dot import as_images

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from torch import Tensor

    from edgeq.targets.emulator.arithmetic.dot import Convolution
    from edgeq.targets.emulator.arithmetic.numerics import OutputRange
    from edgeq.targets.emulator.onnx.float_order import Order
    from edgeq.targets.emulator.program import Log

_U = 2.0**-24
_EXTRA = 10
_AT_ONCE = 1 << 21  # products gone through at once


@dataclass(frozen=True, slots=True, eq=False)
class FloatFinish:
    """What stands around the sums of a layer.

    Attributes:
        source: the scale of the input, float32, ().
        weights: the scales of the weights, float32, () or (channels,).
        bias: float32, (channels,) or None.
        bias_first: whether sums start from the bias rather than end with it.
        output: the scale of the output, float32, ().
        output_range: the bounds of its levels.
        gain: what a normalisation behind the sums multiplies each channel with, float32,
            (channels,); None without one.
        shift: what it adds then, likewise.
        settles_ties: whether results near ties are gone through in the order in which ONNX Runtime
            adds. Without, one in some hundred may be a step off.
    """

    source: Tensor
    weights: Tensor
    bias: Tensor | None
    bias_first: bool
    output: Tensor
    output_range: OutputRange
    gain: Tensor | None = None
    shift: Tensor | None = None
    settles_ties: bool = True

    __repr__ = brief

    def decided(
        self, sums: Tensor, magnitudes: Callable[[], Tensor], taps: int, axis: int
    ) -> tuple[Tensor, Tensor | None]:
        """The levels of the output, and which of them float error might change.

        Args:
            sums: exact sums of products of levels.
            magnitudes: gives exact sums of their magnitudes.
            taps: products in each.
            axis: the channel axis.
        """
        gain = 1.0 if self.gain is None else self.gain.to(torch.float64)
        step = self.output.to(torch.float64)
        factor = self._along(
            self.source.to(torch.float64) * self.weights.to(torch.float64) * gain / step, sums, axis
        )
        offsets = [
            self._along(added.to(torch.float64) / step, sums, axis)
            for added in (
                None if self.bias is None else self.bias.to(torch.float64) * gain,
                self.shift,
            )
            if added is not None
        ]
        if not self.settles_ties:  # single precision errs by less than a thousandth of a step
            offset = sum(offsets, start=factor.new_zeros(()))
            # measured, addcmul takes nearly three times as long where it broadcasts
            centered = sums.to(torch.float32).mul(factor.to(torch.float32))
            centered.add_(offset.to(torch.float32))
            return centered.round_().clamp_(self.output_range.low, self.output_range.high), None
        position = sums.to(torch.float64).mul_(factor)
        reach = magnitudes().to(torch.float64).mul_(factor.abs())
        for offset in offsets:
            position += offset
            reach = reach + offset.abs()
        error = reach.mul_((taps + _EXTRA) * _U)
        fraction = (position - position.floor()).sub_(0.5).abs_()
        inside = (position > self.output_range.low - 1) & (position < self.output_range.high + 1)
        centered = (
            position.round_()
            .clamp_(self.output_range.low, self.output_range.high)
            .to(torch.float32)
        )
        return centered, (fraction <= error) & inside

    def gone_through(
        self, x: Tensor, w: Tensor, channel: Tensor, place: Tensor, order: Order
    ) -> Tensor:
        """The levels of single sums, by float arithmetic.

        Args:
            x: levels of the input, (taps, sums).
            w: levels of the weights, likewise.
            channel: of each sum.
            place: its column in the matrix product.
            order: in which it is added up.
        """
        scales = self.weights if self.weights.ndim == 0 else self.weights[channel]
        bias = None if self.bias is None else self.bias[channel]
        value = order(x * self.source, w * scales, bias if self.bias_first else None, place)
        if bias is not None and not self.bias_first:
            value = value + bias
        if self.gain is not None and self.shift is not None:
            value = value * self.gain[channel] + self.shift[channel]
        return (value / self.output).round_().clamp_(self.output_range.low, self.output_range.high)

    @staticmethod
    def _along(values: Tensor, sums: Tensor, axis: int) -> Tensor:
        if values.ndim == 0:
            return values
        shape = [1] * sums.ndim
        shape[axis] = -1
        return values.reshape(shape)


@dataclass(frozen=True, slots=True, eq=False)
class FloatConvolution:
    """A convolution of images in NCHW.

    Attributes:
        inner: its integers.
        finish: what stands around its sums.
        order: how they are added up.
        taps: int64, (taps,): the order of its taps, as places in (in / groups, height, width).
    """

    inner: Convolution
    finish: FloatFinish
    order: Order
    taps: Tensor

    __repr__ = brief

    def __call__(self, operands: Sequence[Tensor], log: Log) -> Tensor:
        """Compute the result; see :class:`edgeq.targets.emulator.program.StepKernel`."""
        images = as_images(operands[0], channels_last=False)
        sums = self.inner.sums(images, log)
        centered, doubtful = self.finish.decided(
            sums, lambda: self.inner.magnitudes(images), len(self.taps), 1
        )
        if doubtful is None:
            return centered.reshape(operands[0].shape[0], -1, *centered.shape[1:])
        where = doubtful.nonzero()
        padded = self.inner.window.pad(images)
        for some in where.split(max(1, _AT_ONCE // len(self.taps))):
            centered[tuple(some.T)] = self._gone_through(padded, some, centered.shape[3])
        return centered.reshape(operands[0].shape[0], -1, *centered.shape[1:])

    def _gone_through(self, padded: Tensor, where: Tensor, width: int) -> Tensor:
        sample, channel, row, column = where.T
        filters, window = self.inner.weights, self.inner.window
        out, depth, high, wide = filters.shape
        tap = self.taps
        plane, y, x = tap // (high * wide), tap // wide % high, tap % wide
        _, channels, rows, columns = padded.shape
        first = sample * channels + channel // (out // window.groups) * depth
        start = (first * rows + row * window.stride[0]) * columns + column * window.stride[1]
        offset = (plane * rows + y * window.dilation[0]) * columns + x * window.dilation[1]
        centered = padded.reshape(-1).take(start[None, :] + offset[:, None])
        weights = filters.reshape(out, -1).to(torch.float32)[channel][:, tap].T
        return self.finish.gone_through(
            centered, weights, channel, row * width + column, self.order
        )


@dataclass(frozen=True, slots=True, eq=False)
class FloatTransposedConvolution:
    """A transposed convolution, as the convolution of its input with zeros between.

    Attributes:
        inner: that convolution, of stride 1.
        stride: how far inputs are spread.
    """

    inner: FloatConvolution
    stride: tuple[int, int]

    def __call__(self, operands: Sequence[Tensor], log: Log) -> Tensor:
        """Compute the result; see :class:`edgeq.targets.emulator.program.StepKernel`."""
        images = as_images(operands[0], channels_last=False)
        count, channels, height, width = images.shape
        spread = images.new_zeros(
            count, channels, (height - 1) * self.stride[0] + 1, (width - 1) * self.stride[1] + 1
        )
        spread[:, :, :: self.stride[0], :: self.stride[1]] = images
        found = self.inner((spread[:, None],), log)
        return found.reshape(operands[0].shape[0], -1, *found.shape[2:])


@dataclass(frozen=True, slots=True, eq=False)
class FloatProduct:
    """A product of matrices, (…, rows, taps) with (…, taps, columns); either may be a constant.

    Attributes:
        finish: what stands around its sums; the columns are its channels.
        order: how they are added up.
        prepare: the two operands as matrices, the samples in front.
        shape: of the result, with the file's batch of one.
        exact: the type in which sums are exact.
        count: tells the log of sums.
    """

    finish: FloatFinish
    order: Order
    prepare: Callable[[Sequence[Tensor]], tuple[Tensor, Tensor]]
    shape: tuple[int, ...]
    exact: torch.dtype
    count: Callable[[Tensor, int, Log], Tensor]

    def __call__(self, operands: Sequence[Tensor], log: Log) -> Tensor:
        """Compute the result; see :class:`edgeq.targets.emulator.program.StepKernel`."""
        first, second = self.prepare(operands)
        a, b = first.to(self.exact), second.to(self.exact)
        taps = a.shape[-1]
        sums = self.count(a @ b, taps, log)
        centered, doubtful = self.finish.decided(sums, lambda: a.abs() @ b.abs(), taps, -1)
        if doubtful is None:
            return centered.reshape(centered.shape[0], *self.shape)
        where = doubtful.nonzero()
        lead = centered.shape[:-2]
        first, second = (matrix.expand(*lead, *matrix.shape[-2:]) for matrix in (first, second))
        for some in where.split(max(1, _AT_ONCE // taps)):
            *at, row, column = some.T
            x, w = first[(*at, row)].T, second.mT[(*at, column)].T
            place = column if centered.shape[-1] > 1 else row
            centered[(*at, row, column)] = self.finish.gone_through(
                x.to(torch.float32), w.to(torch.float32), column, place, self.order
            )
        return centered.reshape(centered.shape[0], *self.shape)
