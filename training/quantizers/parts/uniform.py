"""What all uniform quantisers share.

Equally spaced levels, of which a subclass says how far apart they are.
"""

from __future__ import annotations

from abc import ABC, abstractmethod

from torch import Tensor, nn

from edgeq.errors import EdgeqError
from edgeq.quant import QuantParams
from edgeq.training.quantizers.parts.fake_quant import fake_quantize, in_units
from edgeq.training.quantizers.parts.pair_safe import raised
from edgeq.training.quantizers.parts.protocol import Encoded, along
from edgeq.training.quantizers.parts.straight_through import straight_through

STORAGE_BITS = 8  # of what most integer runtimes store
SMALLEST_BOUND = 1e-6  # a bound may not reach zero, where the scale would vanish


class UniformQuantizer(nn.Module, ABC):
    """Clips to a range and rounds to equally spaced levels.

    A subclass says where the scale comes from.

    Integers are 0..2^b-1 (unsigned), -(2^(b-1)-1)..2^(b-1)-1 (signed, narrow: weights) or
    -2^(b-1)..2^(b-1)-1 (signed: an activation that fills its storage dtype).

    Args:
        bits: the width it is trained for.
        signed: whether negative values are kept.
        narrow_range: leave out the lowest signed integer, as most papers do for weights.
        axis: the channel axis of a quantiser with one scale per channel, else None.
    """

    def __init__(
        self, bits: int, *, signed: bool, narrow_range: bool = False, axis: int | None = None
    ) -> None:
        super().__init__()
        self.target_bits = bits
        self.bits = bits  # annealing starts above the target
        self.signed = signed
        self.narrow_range = narrow_range
        self.axis = axis
        self.rounding = True
        self.pair_limit: int | None = None  # of neighbouring integers of a weight; see pair_safe.py

    @abstractmethod
    def scale_of(self, x: Tensor) -> Tensor:
        """1 LSB in real units where ``x`` is quantised.

        Shape (), or (channels,) where there is an axis.
        """

    @property
    def qmax(self) -> int:
        """The largest integer, P of the papers."""
        return self.qmax_at(self.bits)

    def qmax_at(self, bits: int) -> int:
        """The largest integer of a width.

        A grid of more than 8 bits is stored as int16, so an unsigned one has half of its integers.
        """
        halved = self.signed or self.target_bits > STORAGE_BITS
        return int(2 ** (bits - 1) - 1 if halved else 2**bits - 1)

    @property
    def qmin(self) -> int:
        """The smallest integer."""
        return (-self.qmax if self.narrow_range else -self.qmax - 1) if self.signed else 0

    def forward(self, x: Tensor) -> Tensor:
        """Fake-quantise a tensor of any shape; its dtype is kept."""
        return fake_quantize(
            x,
            along(self._pair_safe_scale(x), x, self.axis),
            self.qmin,
            self.qmax,
            rounding=self.rounding,
        )

    def encode(self, x: Tensor) -> Encoded:
        """The integers of ``x`` on the grid, and the grid."""
        scale = self._pair_safe_scale(x)
        integers = in_units(x, along(scale, x, self.axis)).clamp(self.qmin, self.qmax).round()
        return Encoded(integers, scale, self.qmin, self.qmax, self.axis)

    def _pair_safe_scale(self, x: Tensor) -> Tensor:
        """The scale, raised where pairs of a weight ask for it.

        A learned one is trained as if it were not.
        """
        scale = self.scale_of(x)
        if self.pair_limit is None:
            return scale
        # the same range while the width is annealed
        limit = self.pair_limit * self.qmax // self.qmax_at(self.target_bits)
        return straight_through(raised(scale.detach(), x, self.qmax, limit), scale)

    def post_optimizer_step(self, weight: Tensor) -> None:
        """Nothing: a step of the optimiser is all there is to it."""

    def extra_repr(self) -> str:
        """Width and sign, for ``print(model)``."""
        each = "" if self.axis is None else f", one scale for each index of axis {self.axis}"
        return f"bits={self.bits}, {'signed' if self.signed else 'unsigned'}{each}"


class UniformGrid(UniformQuantizer, ABC):
    """A uniform quantiser whose scale belongs to it, and not to the tensor.

    What activations need.
    """

    amplitude = 1.0

    @property
    @abstractmethod
    def scale(self) -> Tensor:
        """1 LSB in real units; shape (), or (channels,) where there is an axis."""

    def scale_of(self, x: Tensor) -> Tensor:  # noqa: ARG002  (the base class's signature)
        """The scale, whatever the tensor."""
        return self.scale

    def quant_params(self) -> QuantParams:
        """The grid in its canonical storage dtype, uint8: zero point 0, or 128 if signed.

        Above 8 bits it is int16, around zero.
        """
        require_target(self)
        scale = self.scale.detach().cpu().numpy()
        if self.bits > STORAGE_BITS:
            return QuantParams.of(scale, 0, "int16", self.qmin, self.qmax, self.axis)
        zero = 128 if self.signed else 0
        return QuantParams.of(scale, zero, "uint8", self.qmin + zero, self.qmax + zero, self.axis)

    def extra_repr(self) -> str:
        """Width, sign and scale, for ``print(model)``."""
        return super().extra_repr() + (
            f", scale={self.scale.item():.4g}" if self.axis is None else ""
        )


def require_target(quantizer: UniformQuantizer) -> None:
    """Refuse to give out a grid that is wider than a byte for the time being.

    Raises:
        EdgeqError: the quantiser is still being annealed.
    """
    if quantizer.bits > max(quantizer.target_bits, STORAGE_BITS):
        raise EdgeqError(
            f"a quantiser is still at {quantizer.bits} bits",
            hint="set the target widths before export",
        )
