"""What a layer costs a machine: cycles by a roofline, energy by a table of operations.

Both are estimates, and say so.

Cycles are the greater of what its arithmetic and what its memory traffic need at their peak rates,
so no real kernel takes fewer; how many more it takes is not known here. Energy counts operations
and bytes with the figures of one process, so it compares networks and widths, not machines.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from edgeq.targets.emulator.hardware.machine import HardwareProfile, Rounding
    from edgeq.targets.emulator.hardware.speed import Costs, Memory
    from edgeq.targets.emulator.program import LayerWorkload


@dataclass(frozen=True, slots=True)
class LayerCost:
    """What one layer costs for one sample.

    Attributes:
        cycles: at least.
        latency_ms: the same at the machine's clock.
        bound: whether arithmetic or memory decides.
        bytes: read and written.
        energy_nj: of operations and traffic, in nanojoules at 45 nm.
    """

    cycles: int
    latency_ms: float
    bound: Literal["compute", "memory"]
    bytes: int
    energy_nj: float


@dataclass(frozen=True, slots=True)
class EnergyTable:
    """Picojoules of operations in one process.

    Attributes:
        add: of integers, by their width in bits.
        multiply: likewise.
        float_add: in single precision.
        float_multiply: likewise.
        access: of 64 bits, by memory.
    """

    add: Mapping[int, float]
    multiply: Mapping[int, float]
    float_add: float
    float_multiply: float
    access: Mapping[Memory, float]

    def add_pj(self, bits: int) -> float:
        """An addition: energy is linear in the width, through the two widths of the table."""
        (narrow, least), (wide, most) = sorted(self.add.items())
        return max(least + (most - least) * (bits - narrow) / (wide - narrow), 0.0)

    def multiply_pj(self, first_bits: int, second_bits: int) -> float:
        """A multiplication: a power of the product of both widths, through those of the table."""
        (narrow, least), (wide, most) = sorted(self.multiply.items())
        power = math.log(most / least) / math.log(wide**2 / narrow**2)
        return float(least * (first_bits * second_bits / narrow**2) ** power)

    def traffic_pj(self, size_bytes: float, memory: Memory) -> float:
        """Bytes read or written."""
        return size_bytes / 8 * self.access[memory]


HOROWITZ_45NM = EnergyTable(
    add={8: 0.03, 32: 0.1},
    multiply={8: 0.2, 32: 3.1},
    float_add=0.9,
    float_multiply=3.7,
    access={"sram-8KiB": 10.0, "sram-32KiB": 20.0, "sram-1MiB": 100.0, "dram": 1300.0},
)
"""45 nm at 0.9 V: M. Horowitz, Computing's energy problem, ISSCC 2014, figure 1.1.9.

DRAM is the lower end of his 1.3 to 2.6 nJ. Surveys of quantisation reprint the table (Gholami et
al. 2021) with DRAM as 640 pJ for 32 bits.
"""


def layer_cost(
    work: LayerWorkload, profile: HardwareProfile, table: EnergyTable = HOROWITZ_45NM
) -> LayerCost | None:
    """Cycles and energy of one layer for one sample; None for a machine of unknown speed."""
    costs = profile.costs
    if costs is None:
        return None
    size = traffic_bytes(work, costs)
    compute = mac_cycles(work, costs) + work.outputs / costs.outputs_per_cycle.value
    memory = size / costs.bytes_per_cycle.value
    cycles = math.ceil(max(compute, memory))
    energy = operations_pj(work, profile, table) + table.traffic_pj(size, costs.memory)
    bound: Literal["compute", "memory"] = "memory" if memory > compute else "compute"
    return LayerCost(cycles, cycles / (1000 * costs.clock_mhz.value), bound, size, energy / 1000)


def total(costs: Sequence[LayerCost]) -> LayerCost | None:
    """The cost of layers one after the other, bound by what takes most cycles; None for none."""
    if not costs:
        return None
    starved = sum(cost.cycles for cost in costs if cost.bound == "memory")
    cycles = sum(cost.cycles for cost in costs)
    return LayerCost(
        cycles,
        sum(cost.latency_ms for cost in costs),
        "memory" if 2 * starved > cycles else "compute",
        sum(cost.bytes for cost in costs),
        sum(cost.energy_nj for cost in costs),
    )


def mac_cycles(work: LayerWorkload, costs: Costs) -> float:
    """Cycles of the products.

    Operands wider than the widest rate are split into digits that fit, each pair a product.
    """
    if not work.macs:
        return 0.0
    weight_bits, input_bits = work.weight_bits or work.input_bits, work.input_bits
    for rate in costs.mac_rates:
        if weight_bits <= rate.weight_bits and input_bits <= rate.activation_bits:
            return work.macs / rate.macs_per_cycle.value
    widest = costs.mac_rates[-1]
    digits = math.ceil(weight_bits / widest.weight_bits) * math.ceil(
        input_bits / widest.activation_bits
    )
    return work.macs * digits / widest.macs_per_cycle.value


def traffic_bytes(work: LayerWorkload, costs: Costs) -> int:
    """Bytes of a layer's operands and result, each moved once."""
    streams = (
        (work.inputs, work.input_bits),
        (work.weights, work.weight_bits),
        (work.outputs, work.output_bits),
    )
    grain = costs.stored_bits
    return sum(
        math.ceil(count * math.ceil(bits / grain) * grain / 8)
        for count, bits in streams
        if count and bits
    )


def operations_pj(
    work: LayerWorkload, profile: HardwareProfile, table: EnergyTable = HOROWITZ_45NM
) -> float:
    """The energy of a layer's arithmetic, memory left out."""
    accumulator = profile.accumulator_bits
    product = table.multiply_pj(
        work.weight_bits or work.input_bits, work.input_bits
    ) + table.add_pj(accumulator)
    if work.kind == "move":
        return 0.0
    if not work.macs:
        return work.inputs * table.add_pj(accumulator) + work.outputs * requantize_pj(
            profile.rounding, accumulator, table
        )
    return work.macs * product + work.outputs * requantize_pj(profile.rounding, accumulator, table)


def requantize_pj(
    rounding: Rounding, accumulator_bits: int, table: EnergyTable = HOROWITZ_45NM
) -> float:
    """The energy of bringing one sum to its output.

    A factor, where there is one, and the addition that rounds.
    """
    if rounding.startswith("shift"):
        return table.add_pj(accumulator_bits)
    if rounding.startswith("half-even"):
        return table.float_multiply + table.float_add
    mantissa = 16 if rounding == "wide" else 32
    return table.multiply_pj(32, mantissa) + table.add_pj(32)
