"""Operators that move numbers and compute none, and those that give the max or the mean."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch.nn import functional as F

from edgeq.targets.emulator.arithmetic.dot import Finish, as_images

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from torch import Tensor

    from edgeq.targets.emulator.arithmetic.dot import SlidingWindow
    from edgeq.targets.emulator.program import Log

_LOWEST = float("-inf")


@dataclass(frozen=True, slots=True, eq=False)
class Move:
    """A change of places.

    Attributes:
        function: from the operands, (samples, *shape), to the result.
    """

    function: Callable[..., Tensor]

    def __call__(self, operands: Sequence[Tensor], log: Log) -> Tensor:  # noqa: ARG002
        """Compute the result; see :class:`edgeq.targets.emulator.program.StepKernel`."""
        return self.function(*operands)


def reshape(shape: Sequence[int]) -> Move:
    """To a shape, samples in front."""
    return Move(lambda x: x.reshape(x.shape[0], *shape))


def transpose(perm: Sequence[int]) -> Move:
    """The dimension of the input at each dimension of the output."""
    order = (0, *(axis + 1 for axis in perm))
    return Move(lambda x: x.permute(order))


def concatenate(axis: int) -> Move:
    """Operands one after the other along an axis."""

    def concatenated(*operands: Tensor) -> Tensor:
        samples = max(operand.shape[0] for operand in operands)
        return torch.cat(
            [operand.expand(samples, *operand.shape[1:]) for operand in operands], axis + 1
        )

    return Move(concatenated)


def pad(before_after: Sequence[tuple[int, int]], value: float = 0.0) -> Move:
    """A level around a tensor: how much in front and behind, by dimension; negative amounts cut."""
    ends = [amount for pair in reversed(before_after) for amount in pair]
    return Move(lambda x: F.pad(x, ends, value=value))


def cut(slices: Sequence[slice], shape: Sequence[int]) -> Move:
    """A slice of each dimension as in Python, steps of any sign, in the shape of the result."""

    def part(x: Tensor) -> Tensor:
        for axis, where in enumerate(slices):
            picked = range(x.shape[axis + 1])[where]
            if len(picked) < x.shape[axis + 1] or where.step not in (None, 1):
                x = x.index_select(axis + 1, torch.tensor(list(picked), dtype=torch.int64))
        return x.reshape(x.shape[0], *shape)

    return Move(part)


def gather(indices: Tensor, axis: int) -> Move:
    """Constant picks along an axis, in the shape of the indices."""
    flat = indices.reshape(-1)

    def picked(x: Tensor) -> Tensor:
        found = x.index_select(axis + 1, flat)
        return found.reshape(*x.shape[: axis + 1], *indices.shape, *x.shape[axis + 2 :])

    return Move(picked)


def picked(picks: Mapping[int, Sequence[int]], rank: int) -> Move:
    """Picks along some axes of a tensor of ``rank`` dimensions; new axes stand in front."""
    indices = {axis: torch.tensor(places, dtype=torch.int64) for axis, places in picks.items()}

    def taken(x: Tensor) -> Tensor:
        x = x.reshape(x.shape[0], *(1,) * (rank + 1 - x.ndim), *x.shape[1:])
        for axis, places in indices.items():
            x = x.index_select(axis + 1, places)
        return x

    return Move(taken)


def depth_to_space(block: int, *, channels_last: bool, columns_first: bool = False) -> Move:
    """Channels into squares of pixels; ``columns_first`` is ONNX's mode CRD."""

    def spread(x: Tensor) -> Tensor:
        images = as_images(x, channels_last=channels_last)
        batch, depth, height, width = images.shape
        small = depth // block**2
        if columns_first:
            parts = images.reshape(batch, small, block, block, height, width).permute(
                0, 1, 4, 2, 5, 3
            )
        else:
            parts = images.reshape(batch, block, block, small, height, width).permute(
                0, 3, 4, 1, 5, 2
            )
        return _like(
            x,
            parts.reshape(batch, small, height * block, width * block),
            channels_last=channels_last,
        )

    return Move(spread)


def space_to_depth(block: int, *, channels_last: bool) -> Move:
    """Squares of pixels into channels."""

    def gathered(x: Tensor) -> Tensor:
        images = as_images(x, channels_last=channels_last)
        batch, depth, height, width = images.shape
        parts = images.reshape(batch, depth, height // block, block, width // block, block).permute(
            0, 3, 5, 1, 2, 4
        )
        return _like(
            x,
            parts.reshape(batch, depth * block**2, height // block, width // block),
            channels_last=channels_last,
        )

    return Move(gathered)


def _like(x: Tensor, images: Tensor, *, channels_last: bool) -> Tensor:
    """Images as (samples, 1, …) in their layout."""
    found = images.permute(0, 2, 3, 1) if channels_last else images
    return found.reshape(x.shape[0], found.shape[0] // x.shape[0], *found.shape[1:])


def greatest(axes: Sequence[int], shape: Sequence[int]) -> Move:
    """The largest along axes, in the shape of the result."""
    along = [axis + 1 for axis in axes]
    return Move(lambda x: x.amax(along).reshape(x.shape[0], *shape))


def max_pool(
    kernel: tuple[int, int],
    window: SlidingWindow,
    shape: Sequence[int],
    *,
    channels_last: bool,
    low: float,
    high: float,
) -> Move:
    """The largest in windows, clipped; what stands around the image is never the largest."""

    def pooled(x: Tensor) -> Tensor:
        images = window.pad(as_images(x, channels_last=channels_last), _LOWEST)
        found = F.max_pool2d(images, kernel, window.stride, 0, window.dilation).clamp(low, high)
        found = found.permute(0, 2, 3, 1) if channels_last else found
        return found.reshape(x.shape[0], *shape)

    return Move(pooled)


def average_pool(
    kernel: tuple[int, int],
    window: SlidingWindow,
    shape: Sequence[int],
    *,
    channels_last: bool,
    zero_point: int,
    low: float,
    high: float,
) -> Move:
    """TFLite's mean in windows.

    Of the integers, zero point and all, rounded to nearest, ties away from zero; padding left out.
    """

    def pooled(x: Tensor) -> Tensor:
        images = as_images(x, channels_last=channels_last)
        total = sums(window.pad(images + zero_point), kernel, window)
        count = sums(window.pad(torch.ones_like(images[:1, :1])), kernel, window)
        half = torch.div(count, 2, rounding_mode="floor")
        mean = torch.div(
            torch.where(total > 0, total + half, total - half), count, rounding_mode="trunc"
        )
        found = (mean - zero_point).clamp_(low, high)
        found = found.permute(0, 2, 3, 1) if channels_last else found
        return found.reshape(x.shape[0], *shape)

    return Move(pooled)


def sums(images: Tensor, kernel: tuple[int, int], window: SlidingWindow) -> Tensor:
    """Sums of whole numbers in windows of padded images, (samples, channels, height, width).

    Exact while they stay below 2**24.
    """
    return F.avg_pool2d(images, kernel, window.stride, divisor_override=1)


def mean(axes: Sequence[int], shape: Sequence[int], finish: Finish) -> Move:
    """Means along axes as rescaled sums of levels, in the shape of the result."""
    along = [axis + 1 for axis in axes]

    def averaged(x: Tensor) -> Tensor:
        return finish(x.to(torch.float64).sum(along), -1).reshape(x.shape[0], *shape)

    return Move(averaged)
