"""Levels that are sums of powers of two: dense around zero, where weights are.

Source: Li, Dong, Wang, *Additive powers-of-two quantization: an efficient non-uniform
discretization for neural networks* (2020), Eqs. 5-8, with the arrangement of terms of its released
code for odd widths. Every level is a whole multiple of the smallest power of two in it, so a weight
of up to six bits fits int8 exactly (:func:`magnitudes`); at seven bits the largest is 448 of them,
and does not. For activations the levels are as many, but QuantizeLinear only rounds to equal
spaces.
"""

from __future__ import annotations

from itertools import product
from typing import NoReturn

import torch
from torch import Tensor, nn

from edgeq.errors import UsageError
from edgeq.training.quantizers.catalogue import find
from edgeq.training.quantizers.learned_clip import weight_bound
from edgeq.training.quantizers.parts.fake_quant import in_units
from edgeq.training.quantizers.parts.fixed_width import FixedWidth
from edgeq.training.quantizers.parts.protocol import Encoded
from edgeq.training.quantizers.parts.straight_through import straight_through
from edgeq.training.quantizers.parts.uniform import SMALLEST_BOUND

ACTIVATION_BOUND = 8.0  # as released for CIFAR-10

# The exponents of each term's powers of two, for magnitudes of so many bits; beside them each term
# can be nothing.
_TERMS: dict[int, tuple[tuple[int, ...], ...]] = {
    2: ((1, 2, 3),),
    3: ((1, 2, 4), (3,)),
    4: ((1, 3, 5), (2, 4, 6)),
    5: ((1, 3, 6), (2, 4, 7), (5,)),
    6: ((1, 4, 7), (2, 5, 8), (3, 6, 9)),
}


def magnitudes(bits: int) -> tuple[int, ...]:
    """The ``2^bits`` magnitudes, from 0, as multiples of the smallest power of two in them.

    Args:
        bits: of the magnitude, 2 to 6; a weight has one more, for the sign.
    """
    terms = _TERMS[bits]
    finest = max(exponent for term in terms for exponent in term)
    choices = ([0, *(2 ** (finest - exponent) for exponent in term)] for term in terms)
    return tuple(sorted({sum(choice) for choice in product(*choices)}))


def nearest(position: Tensor, among: tuple[int, ...]) -> Tensor:
    """The nearest magnitude, ties to the lesser; ``position`` counts multiples, from 0 up."""
    levels = torch.tensor(among, dtype=position.dtype, device=position.device)
    found = levels[torch.bucketize(position.contiguous(), (levels[1:] + levels[:-1]) / 2)]
    return torch.where(position.isnan(), position, found)


class ApotWeights(FixedWidth):
    """Signed levels within a learned bound alpha.

    The gradient passes to clipped weights too, as released.

    Args:
        bits: the width, 3 to 7, sign and all.
        bound: the initial bound, in real units.
    """

    def __init__(self, bits: int, *, bound: float | Tensor) -> None:
        super().__init__(bits)
        self.magnitudes = magnitudes(bits - 1)
        self.alpha = nn.Parameter(torch.as_tensor(bound, dtype=torch.float32).detach().clone())

    @property
    def qmax(self) -> int:
        """The largest integer."""
        return self.magnitudes[-1]

    @property
    def scale(self) -> Tensor:
        """The smallest power of two among the terms, in real units; shape ()."""
        return self.alpha.clamp(min=SMALLEST_BOUND) / self.qmax

    def forward(self, x: Tensor) -> Tensor:
        """Fake-quantise a weight; its dtype is kept."""
        with torch.no_grad():
            position = in_units(x, self.scale)
            clipped = position.clamp(-self.qmax, self.qmax)
            integers = (
                nearest(clipped.abs(), self.magnitudes).copysign(clipped)
                if self.rounding
                else clipped
            )
            value = (integers * self.scale).to(x.dtype)
            error = integers - torch.where(position.abs() < self.qmax, position, 0.0)
        return straight_through(value, (error * self.scale + x).to(x.dtype))

    def encode(self, x: Tensor) -> Encoded:
        """The integers of ``x``, multiples of the scale."""
        clipped = in_units(x, self.scale).detach().clamp(-self.qmax, self.qmax)
        integers = nearest(clipped.abs(), self.magnitudes).copysign(clipped)
        return Encoded(integers, self.scale, -self.qmax, self.qmax)


class ApotActivations(FixedWidth):
    """Levels of both sorts of terms within 0..alpha; trains, and has no integer form.

    Args:
        bits: the width, 2 to 6.
        bound: the initial bound alpha, in real units.
    """

    amplitude = 1.0

    def __init__(self, bits: int, *, bound: float = ACTIVATION_BOUND) -> None:
        super().__init__(bits)
        self.magnitudes = magnitudes(bits)
        self.alpha = nn.Parameter(torch.tensor(float(bound)))

    @property
    def scale(self) -> Tensor:
        """The smallest power of two among the terms, in real units; shape ()."""
        return self.alpha.clamp(min=SMALLEST_BOUND) / self.magnitudes[-1]

    def forward(self, x: Tensor) -> Tensor:
        """Fake-quantise a tensor of any shape; its dtype is kept."""
        with torch.no_grad():
            encoded = self.encode(x)
            position = in_units(x, encoded.scale)
            inside = (position > 0) & (position < encoded.high)
            clipped = encoded.integers if self.rounding else position.clamp(0, encoded.high)
            value = (clipped * encoded.scale).to(x.dtype)
            error = clipped - torch.where(inside, position, 0.0)
        return straight_through(
            value, (error * self.scale + torch.where(inside, x, x.detach())).to(x.dtype)
        )

    def encode(self, x: Tensor) -> Encoded:
        """The integers of ``x``, multiples of the scale."""
        high = self.magnitudes[-1]
        integers = nearest(in_units(x, self.scale).detach().clamp(0, high), self.magnitudes)
        return Encoded(integers, self.scale, 0, high)

    def quant_params(self) -> NoReturn:
        """Refused, for the catalogue's reason."""
        why = find("activations", "apot").refusal
        raise UsageError(
            f"activations of additive powers of two cannot be exported: {why}",
            hint="train them with learned-clip or lsq",
        )


def for_weight(bits: int, weight: Tensor, *, axis: int | None, normalized: bool) -> ApotWeights:
    """For a weight, normalised or not; the bound starts where that of a learned clip does."""
    return ApotWeights(bits, bound=weight_bound(weight, axis, normalized=normalized))


def for_activation(bits: int, *, signed: bool) -> ApotActivations:
    """For an activation behind a ReLU."""
    del signed
    return ApotActivations(bits)
