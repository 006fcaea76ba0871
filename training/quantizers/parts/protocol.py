"""What a layer, the insertion and the training loop ask of a quantiser.

Any module that answers is one.

A weight quantiser's scale may depend on the very tensor it quantises (its max or mean magnitude).
So integers and scale are always made together, by :meth:`Quantizer.encode`: a scale that was read
off an earlier weight cannot be used.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, runtime_checkable

from edgeq.brief import brief

if TYPE_CHECKING:
    from torch import Tensor

    from edgeq.quant import QuantParams


@dataclass(frozen=True, slots=True)
class Encoded:
    """A tensor on a grid.

    Attributes:
        integers: whole numbers, as floats; the zero point is taken off.
        scale: 1 LSB in real units, float32; shape (), or (channels,) where there is an axis.
        low: the smallest integer that the grid has.
        high: the largest.
        axis: the channel axis, or None.
    """

    integers: Tensor
    scale: Tensor
    low: int
    high: int
    axis: int | None = None

    __repr__ = brief

    @property
    def value(self) -> Tensor:
        """The real values, of the shape of the integers."""
        return self.integers * along(self.scale, self.integers, self.axis)


def along(values: Tensor, x: Tensor, axis: int | None) -> Tensor:
    """A value for each channel, shaped to broadcast with ``x``.

    One value for all is left as it is.
    """
    if axis is None:
        return values
    return values.reshape([-1 if dimension == axis else 1 for dimension in range(x.ndim)])


@runtime_checkable
class Quantizer(Protocol):
    """A module that rounds in training as an integer runtime will.

    In evaluation ``quantizer(x)`` equals ``quantizer.encode(x).value`` bit for bit.

    Attributes:
        target_bits: the width it is trained for.
        bits: the width now; annealing starts above the target.
        rounding: false only clips.
        axis: the channel axis of a quantiser with one scale per channel, else None.
    """

    target_bits: int
    bits: int
    rounding: bool
    axis: int | None

    def __call__(self, x: Tensor) -> Tensor:
        """Fake-quantise; shape and dtype are kept."""
        ...

    def encode(self, x: Tensor) -> Encoded:
        """The integers that evaluation computes with, and their scale.

        Raises:
            UsageError: the method has no integers.
        """
        ...

    def post_optimizer_step(self, weight: Tensor) -> None:
        """Do to a weight what the method does after each step of the optimiser, in place."""
        ...


@runtime_checkable
class GridQuantizer(Quantizer, Protocol):
    """A quantiser of activations: its grid is the same for every tensor that evaluation brings.

    Attributes:
        amplitude: a layer that reads the grid divides by it, so as to compute with the values the
            method publishes; a power of two, and 1 for all methods that need no such thing.
    """

    amplitude: float

    @property
    def scale(self) -> Tensor:
        """1 LSB in real units; shape (), or (channels,) where there is an axis."""
        ...

    def quant_params(self) -> QuantParams:
        """The grid as an exporter writes it.

        Raises:
            UsageError: the method has no integer form; says why.
        """
        ...


@runtime_checkable
class Following(Protocol):
    """A quantiser whose bound comes from the batches that it meets in training."""

    @property
    def waits(self) -> bool:
        """Whether there was none yet that says something."""
        ...


@runtime_checkable
class Penalized(Protocol):
    """A quantiser whose method adds a term to the loss."""

    def penalty(self) -> Tensor:
        """The term, shape (), to be weighted by the caller."""
        ...
