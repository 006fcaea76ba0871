"""Operators without weights: those that move numbers, choose among them or average them."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch.nn import functional as F

from edgeq.deploy.bounds.drift.signal import Exact, both
from edgeq.targets.emulator.arithmetic.dot import as_images

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from torch import Tensor

    from edgeq.deploy.bounds.drift.signal import Signal
    from edgeq.targets.emulator.arithmetic.dot import SlidingWindow

    Values = Callable[[Sequence[Tensor]], Tensor]


@dataclass(frozen=True, slots=True, eq=False)
class Move:
    """An operator whose results lie among what it reads.

    Attributes:
        values: from operands, (samples, *shape) each, to the result.
        errors: from the greatest errors of the operands to those of the result.
        repeats: how often a number can occur in the result, at most: an error of l2 norm e becomes
            one of at most ``e * sqrt(repeats)``.
        computes: see :class:`Effect`.
    """

    values: Values
    errors: Values
    repeats: float = 1.0
    computes: bool = False

    def exact(self, sources: Sequence[Signal]) -> Exact:
        """Errors move along with their numbers; see :class:`Effect`."""
        error = self.errors([source.error for source in sources])
        norms = torch.broadcast_tensors(*(source.norm for source in sources))
        norm = torch.stack(norms).norm(dim=0) * self.repeats**0.5
        return Exact(*both(self.values, sources), error, norm)


def moved(values: Values, shape: tuple[int, ...], *, repeating: bool = False) -> Move:
    """A change of places; numbers that it writes itself, such as padding, have no error.

    Args:
        values: from the operands to the result.
        shape: of the only operand, where numbers can repeat.
        repeating: whether they can.
    """

    def errors(operands: Sequence[Tensor]) -> Tensor:
        return values(operands) - values([torch.zeros_like(each) for each in operands])

    return Move(values, errors, most_often(values, shape) if repeating else 1.0)


def averaged(values: Values, shape: tuple[int, ...]) -> Move:
    """Means of an operand of this shape."""
    return Move(values, values, most_often(values, shape), computes=True)


def unmoved() -> Move:
    """The same numbers, on another grid or in another range."""

    def first(operands: Sequence[Tensor]) -> Tensor:
        return operands[0]

    return Move(first, first, computes=True)


def most_often(values: Values, shape: tuple[int, ...]) -> float:
    """How often a number can be in the result, or by which part, at most.

    By the gradient of the sum of the result. As no result counts more than one whole number, that
    bounds the square of the norm.
    """
    x = torch.zeros((1, *shape), dtype=torch.float64, requires_grad=True)
    with torch.enable_grad():
        (counts,) = torch.autograd.grad(values([x]).sum(), x)
    return float(counts.max())


def greatest_in_windows(
    kernel: tuple[int, int], window: SlidingWindow, shape: tuple[int, ...], *, channels_last: bool
) -> Move:
    """The greatest in windows; what stands around the image is never the greatest."""

    def largest(outside: float) -> Values:
        def pooled(operands: Sequence[Tensor]) -> Tensor:
            images = window.pad(as_images(operands[0], channels_last=channels_last), outside)
            found = F.max_pool2d(images, kernel, window.stride, 0, window.dilation)
            found = found.permute(0, 2, 3, 1) if channels_last else found
            return found.reshape(len(operands[0]), *shape)

        return pooled

    spans = zip(kernel, window.stride, window.dilation, strict=True)
    overlap = math.prod(math.ceil(((k - 1) * d + 1) / s) for k, s, d in spans)
    return Move(largest(-math.inf), largest(0.0), overlap)


def mean_in_windows(
    kernel: tuple[int, int],
    window: SlidingWindow,
    shapes: tuple[tuple[int, ...], tuple[int, ...]],
    *,
    channels_last: bool,
) -> Move:
    """The mean in windows of what lies in the image; the shapes are of operand and result."""

    def sums(images: Tensor) -> Tensor:
        return F.avg_pool2d(window.pad(images), kernel, window.stride, divisor_override=1)

    def mean(operands: Sequence[Tensor]) -> Tensor:
        images = as_images(operands[0], channels_last=channels_last)
        found = sums(images) / sums(torch.ones_like(images[:1, :1]))
        found = found.permute(0, 2, 3, 1) if channels_last else found
        return found.reshape(len(operands[0]), *shapes[1])

    return averaged(mean, shapes[0])


def mean_along(axes: Sequence[int], shapes: tuple[tuple[int, ...], tuple[int, ...]]) -> Move:
    """The mean along axes; the shapes are of operand and result."""
    along = [axis + 1 for axis in axes]

    def mean(operands: Sequence[Tensor]) -> Tensor:
        return operands[0].mean(along).reshape(len(operands[0]), *shapes[1])

    return averaged(mean, shapes[0])


def greatest_along(axes: Sequence[int], shape: tuple[int, ...]) -> Move:
    """The greatest along axes."""
    along = [axis + 1 for axis in axes]

    def most(operands: Sequence[Tensor]) -> Tensor:
        return operands[0].amax(along).reshape(len(operands[0]), *shape)

    return Move(most, most)
