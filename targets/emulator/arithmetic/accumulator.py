"""The accumulator that one layer meets: whether it can show at all, and what to do where it can."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import torch

from edgeq.brief import brief
from edgeq.targets.emulator.arithmetic.accumulate import accumulate, pairs_can_saturate
from edgeq.targets.emulator.arithmetic.binary import binary_sums, is_binary
from edgeq.targets.emulator.hardware.host_fallback import on_hardware
from edgeq.targets.emulator.program import OverflowStats

if TYPE_CHECKING:
    from torch import Tensor

    from edgeq.targets.emulator.arithmetic.elementwise import CenteredRange
    from edgeq.targets.emulator.hardware.machine import HardwareProfile
    from edgeq.targets.emulator.program import Log

_FLOAT32_BITS = 24
_UNSIGNED_BYTE, _SIGNED_BYTE = "uint8", "int8"
_BYTES, _BYTE_BITS = (_SIGNED_BYTE, _UNSIGNED_BYTE), 8


@dataclass(frozen=True, slots=True, eq=False)
class Operands:
    """What a layer multiplies, where that is known beforehand.

    Attributes:
        weights: levels, (channels, taps).
        inputs: the levels that its input can have.
        zero_point: of the input as stored.
        storage_dtype: the type in which the input is stored.
        depthwise: whether each channel has one filter of its own and meets no other channel.
        weight_zero: the zero point of the weights as stored, or one of each channel.
        weight_dtype: the type in which the weights are stored; empty for levels without a zero
            point.
    """

    weights: Tensor
    inputs: CenteredRange
    zero_point: int = 0
    storage_dtype: str = ""
    depthwise: bool = False
    weight_zero: tuple[int, ...] = (0,)
    weight_dtype: str = ""

    __repr__ = brief

    @property
    def weight_bits(self) -> int:
        """The width that the weights need; -1 and +1 need one bit."""
        if bool((self.weights.abs() == 1).all()):
            return 1
        least, greatest = (
            (int(each) for each in torch.aminmax(self.weights)) if self.weights.numel() else (0, 0)
        )
        needed = max(greatest, -least - 1).bit_length() + 1
        # a zero point makes levels of 9 bits of bytes
        return min(needed, _BYTE_BITS) if self.weight_dtype in _BYTES else needed

    @property
    def input_bits(self) -> int:
        """The width that the inputs need."""
        return (self.inputs.size - 1).bit_length()

    @property
    def in_pairs(self) -> bool:
        """Whether a machine that adds pairs does so here, and a pair can saturate.

        Only uint8 activations and int8 weights meet in pairs; other types, and channels by
        themselves, take kernels that widen to 16 bits before they multiply.
        """
        if (
            self.storage_dtype != _UNSIGNED_BYTE
            or self.weight_dtype == _UNSIGNED_BYTE
            or self.depthwise
        ):
            return False
        zeros = torch.tensor(self.weight_zero, dtype=self.weights.dtype).reshape(-1, 1)
        return pairs_can_saturate(self.weights + zeros, self.inputs.high + self.zero_point)

    @property
    def binary(self) -> bool:
        """Whether bits can be counted in place of products."""
        return is_binary(self.weights, self.inputs.low, self.inputs.high)


@dataclass(frozen=True, slots=True)
class Accumulator:
    """The machine's accumulator for one layer.

    Attributes:
        name: the layer's.
        profile: the machine.
        largest: the largest magnitude that a sum can reach on its way, start included.
        fits: whether no sum can leave the machine's accumulator and no product is lost; then only
            the result matters.
        zero_point: of the input as stored.
        binary: whether the machine counts bits in this layer.
        weight_zero: the zero point of the weights as stored, or one of each channel.
    """

    name: str
    profile: HardwareProfile
    largest: float
    fits: bool
    zero_point: int = 0
    binary: bool = False
    weight_zero: tuple[int, ...] = (0,)

    @classmethod
    def of(
        cls, name: str, profile: HardwareProfile, largest: float, operands: Operands | None = None
    ) -> Accumulator:
        """The accumulator of a layer whose sums reach this far at most.

        Raises:
            TargetError: the machine takes no operands as wide as these.
        """
        if operands is not None:
            profile = on_hardware(profile, name, operands.weight_bits, operands.input_bits)
        pairs = profile.products == "pairs-int16" and operands is not None and operands.in_pairs
        fits = not pairs and largest < 2.0 ** (profile.accumulator_bits - 1)
        binary = fits and profile.binary and operands is not None and operands.binary
        machine = profile if pairs else replace(profile, products="exact")
        if operands is None:
            return cls(name, machine, largest, fits)
        return cls(
            name,
            machine,
            largest,
            fits and not binary,
            operands.zero_point,
            binary,
            operands.weight_zero,
        )

    @property
    def dtype(self) -> torch.dtype:
        """The type in which every sum is exact."""
        return torch.float32 if self.largest < 2**_FLOAT32_BITS else torch.float64

    def exact(self, sums: Tensor, taps: int, log: Log) -> Tensor:
        """Count sums that are exact, and pass them on."""
        log.add(self.name, OverflowStats(sums=sums.numel(), steps=sums.numel() * taps))
        return sums

    def step_by_step(self, rows: Tensor, weights: Tensor, start: Tensor | None, log: Log) -> Tensor:
        """``rows @ weights.T`` on an accumulator that may overflow; int64, (rows, channels)."""
        if self.binary:
            counted = binary_sums(rows, weights)
            return self.exact(
                counted if start is None else counted + start.to(torch.int64), rows.shape[1], log
            )
        sums, stats = accumulate(
            rows, weights, start, self.profile, self.zero_point, self.weight_zero
        )
        log.add(self.name, stats)
        return sums


def largest_sum(weights: Tensor, bias: Tensor | None, largest_input: int) -> float:
    """The max magnitude of a sum with these weights, (channels, …), and inputs up to a bound."""
    reach = weights.reshape(weights.shape[0], -1).to(torch.float64).abs().sum(1) * largest_input
    if bias is not None:
        reach = reach + bias.to(torch.float64).abs()
    return float(reach.max()) if reach.numel() else 0.0
