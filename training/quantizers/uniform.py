"""What all uniform quantisers share: equally spaced levels, of which a subclass says how far apart they are."""

from __future__ import annotations

from abc import ABC, abstractmethod

from torch import Tensor, nn

from edgeq.errors import EdgeqError
from edgeq.quant import QuantParams
from edgeq.training.quantizers.fake_quant import fake_quantize

SMALLEST_BOUND = 1e-6  # a bound may not reach zero, where the step would vanish


class UniformQuantizer(nn.Module, ABC):
    """Clips to a range and rounds to equally spaced levels; a subclass says where the step comes from.

    Integers are 0..2^b-1 (unsigned), -(2^(b-1)-1)..2^(b-1)-1 (signed, narrow: weights) or -2^(b-1)..2^(b-1)-1 (signed: an
    activation that fills its carrier).

    Args:
        bits: the width it is trained for.
        signed: whether negative values are kept.
        narrow: leave out the lowest signed integer, as most papers do for weights.
        axis: the channel axis of a quantiser with one step a channel, else None.
    """

    def __init__(self, bits: int, *, signed: bool, narrow: bool = False, axis: int | None = None) -> None:
        super().__init__()
        self.target_bits = bits
        self.bits = bits  # annealing starts above the target
        self.signed = signed
        self.narrow = narrow
        self.axis = axis
        self.rounding = True

    @property
    @abstractmethod
    def step(self) -> Tensor:
        """1 LSB in real units; shape (), or (channels,) where there is an axis."""

    @property
    def levels(self) -> int:
        """The greatest integer, P of the papers."""
        return int(2 ** (self.bits - 1) - 1 if self.signed else 2**self.bits - 1)

    @property
    def qmin(self) -> int:
        """The least integer."""
        return (-self.levels if self.narrow else -self.levels - 1) if self.signed else 0

    def forward(self, x: Tensor) -> Tensor:
        """Fake-quantise a tensor of any shape; its dtype is kept."""
        return fake_quantize(x, self._along(self.step, x), self.qmin, self.levels, rounding=self.rounding)

    def integers(self, x: Tensor) -> Tensor:
        """The integers of ``x`` on the grid, as floats."""
        return (x / self._along(self.step, x)).clamp(self.qmin, self.levels).round()

    def quant_params(self) -> QuantParams:
        """The grid in its canonical carrier: uint8, zero point 0 (unsigned) or 128 (signed)."""
        if self.bits > 8:
            raise EdgeqError(f"a quantiser is still at {self.bits} bits", mend="set the target widths before export")
        zero = 128 if self.signed else 0
        step = self.step.detach().cpu().numpy()
        return QuantParams.of(step, zero, "uint8", self.qmin + zero, self.levels + zero, self.axis)

    def extra_repr(self) -> str:
        """Width, sign and step, for ``print(model)``."""
        step = f"step={self.step.item():.4g}" if self.axis is None else f"{self.step.numel()} steps along axis {self.axis}"
        return f"bits={self.bits}, {'signed' if self.signed else 'unsigned'}, {step}"

    def _along(self, value: Tensor, x: Tensor) -> Tensor:
        """A value for each channel, shaped to broadcast with ``x``."""
        if self.axis is None:
            return value
        return value.reshape([-1 if axis == self.axis else 1 for axis in range(x.ndim)])
