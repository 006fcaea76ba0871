"""The precision of one layer: bits of its weights and of what it reads, or float."""

from __future__ import annotations

import re
from dataclasses import dataclass

from edgeq.errors import UsageError

_NAME = re.compile(r"w([2-8])a([2-8]|16)")
_FLOAT_BITS = 32


@dataclass(frozen=True, slots=True)
class Precision:
    """What a layer computes in.

    Attributes:
        weight_bits: of its weights, 2 to 8; 32 for float.
        act_bits: of what it reads, 2 to 8, or 16; 32 for float.
        channel_bits: the width of each output channel's weights, where they differ.
    """

    weight_bits: int = 8
    act_bits: int = 8
    channel_bits: tuple[int, ...] = ()

    @property
    def is_float(self) -> bool:
        """Whether nothing of it is quantised."""
        return self.weight_bits == _FLOAT_BITS

    @property
    def name(self) -> str:
        """``w4a8``, ``w2-6a8`` where channels differ, or ``float``."""
        if self.is_float:
            return "float"
        least, most = min(self.channel_bits, default=0), max(self.channel_bits, default=0)
        weights = f"{least}-{most}" if least != most else str(self.weight_bits)
        return f"w{weights}a{self.act_bits}"

    @property
    def work(self) -> float:
        """What a multiplication costs, in those of 8 bits by 8: the product of the widths."""
        return self.mean_weight_bits * self.act_bits / 64

    @property
    def mean_weight_bits(self) -> float:
        """The width of weights; the mean over channels of the same size."""
        if self.channel_bits:
            return sum(self.channel_bits) / len(self.channel_bits)
        return float(self.weight_bits)


FLOAT = Precision(_FLOAT_BITS, _FLOAT_BITS)
EIGHT = Precision()


def parse(name: str) -> Precision:
    """A precision by its name: ``w4a8``, ``w8a16`` or ``float``.

    Raises:
        UsageError: there is none such.
    """
    if name == "float":
        return FLOAT
    found = _NAME.fullmatch(name)
    if found is None:
        raise UsageError(
            f"{name!r} is no precision",
            hint="write w4a8 for weights of 4 bits that read 8, w8a16, or float; weights have 2 to "
            "8 bits, activations 2 to 8, or 16",
        )
    return Precision(int(found[1]), int(found[2]))
