"""How fast a machine is and what it remembers in, as data: every figure with its source."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Memory = Literal["sram-8KiB", "sram-32KiB", "sram-1MiB", "dram"]


@dataclass(frozen=True, slots=True)
class SourcedFigure:
    """A number about a machine.

    Attributes:
        value: in the unit that its name says.
        source: the manual, paper or count that it comes from.
        assumed: whether nobody has published it, and it was chosen.
    """

    value: float
    source: str
    assumed: bool = False


@dataclass(frozen=True, slots=True)
class MacRate:
    """How many products of operands up to these widths, in bits, a machine adds up in a cycle."""

    weight_bits: int
    activation_bits: int
    macs_per_cycle: SourcedFigure


@dataclass(frozen=True, slots=True)
class Costs:
    """The speed of a machine.

    Attributes:
        clock_mhz: cycles a microsecond.
        mac_rates: for operands of several widths, the narrowest first.
        outputs_per_cycle: results that are requantised and stored, or elements that are worked on
            one by one.
        bytes_per_cycle: that its memory delivers or takes.
        stored_bits: the smallest width of a number in its memory; wider ones take a multiple of it.
        memory: what activations and weights are read from, for energy.
    """

    clock_mhz: SourcedFigure
    mac_rates: tuple[MacRate, ...]
    outputs_per_cycle: SourcedFigure
    bytes_per_cycle: SourcedFigure
    stored_bits: int
    memory: Memory
