"""Cycles by hand on a roofline, energy against the figures of the table."""

from __future__ import annotations

from dataclasses import replace

import pytest

from edgeq.targets.emulator.hardware.costs import (
    HOROWITZ_45NM,
    LayerCost,
    layer_cost,
    mac_cycles,
    operations_pj,
    requantize_pj,
    total,
    traffic_bytes,
)
from edgeq.targets.emulator.hardware.machine import HardwareProfile
from edgeq.targets.emulator.hardware.profiles import profile_of
from edgeq.targets.emulator.hardware.speed import Costs, MacRate, SourcedFigure
from edgeq.targets.emulator.program import LayerWorkload

CONV = LayerWorkload(
    "c",
    "Conv",
    "dot",
    macs=1_000_000,
    inputs=4000,
    weights=2000,
    outputs=8000,
    weight_bits=8,
    input_bits=8,
    output_bits=8,
)
COSTS = Costs(
    clock_mhz=SourcedFigure(100, "test"),
    mac_rates=(MacRate(4, 4, SourcedFigure(64, "test")), MacRate(8, 8, SourcedFigure(16, "test"))),
    outputs_per_cycle=SourcedFigure(2, "test"),
    bytes_per_cycle=SourcedFigure(4, "test"),
    stored_bits=4,
    memory="sram-8KiB",
)
MACHINE = HardwareProfile("test", "a machine for tests", "double", "double", costs=COSTS)


def test_the_table_is_horowitz() -> None:
    assert (HOROWITZ_45NM.add_pj(8), HOROWITZ_45NM.add_pj(32)) == pytest.approx((0.03, 0.1))
    assert (HOROWITZ_45NM.multiply_pj(8, 8), HOROWITZ_45NM.multiply_pj(32, 32)) == pytest.approx(
        (0.2, 3.1)
    )
    assert HOROWITZ_45NM.traffic_pj(8, "dram") == 1300
    assert HOROWITZ_45NM.traffic_pj(4, "sram-8KiB") == 5  # 32 bits from 8 KiB, as surveys have it


def test_between_the_figures_a_multiplier_grows_with_its_array_and_an_adder_with_its_width() -> (
    None
):
    assert 0.2 / 4.2 < HOROWITZ_45NM.multiply_pj(4, 4) < 0.2 / 3.8
    assert HOROWITZ_45NM.multiply_pj(4, 8) == HOROWITZ_45NM.multiply_pj(8, 4)
    assert (
        HOROWITZ_45NM.multiply_pj(1, 1)
        < HOROWITZ_45NM.multiply_pj(4, 4)
        < HOROWITZ_45NM.multiply_pj(8, 8)
    )
    assert HOROWITZ_45NM.add_pj(20) == pytest.approx((0.03 + 0.1) / 2)
    assert HOROWITZ_45NM.add_pj(1) > 0


def test_arithmetic_decides_where_it_is_slower() -> None:
    cost = layer_cost(CONV, MACHINE)
    assert cost is not None
    assert (cost.cycles, cost.bound) == (1_000_000 // 16 + 8000 // 2, "compute")
    assert cost.latency_ms == pytest.approx(cost.cycles / 100_000)
    assert cost.bytes == 14_000


def test_memory_decides_where_it_is_slower() -> None:
    cost = layer_cost(replace(CONV, macs=16_000, weights=400_000), MACHINE)
    assert cost is not None
    assert (cost.cycles, cost.bound) == (412_000 // 4, "memory")


@pytest.mark.parametrize(
    ("weight_bits", "input_bits", "cycles"),
    [(4, 4, 64), (2, 1, 64), (4, 8, 16), (8, 8, 16), (16, 8, 8), (16, 16, 4)],
)
def test_operands_go_to_the_narrowest_multiplier_that_takes_them_or_in_digits(
    weight_bits: int, input_bits: int, cycles: int
) -> None:
    work = replace(CONV, weight_bits=weight_bits, input_bits=input_bits)
    assert mac_cycles(work, COSTS) == 1_000_000 / cycles


@pytest.mark.parametrize(
    ("bits", "grain", "size"),
    [(4, 4, 2000), (4, 8, 4000), (5, 4, 4000), (1, 1, 500), (16, 8, 8000), (12, 8, 8000)],
)
def test_numbers_are_stored_in_the_grain_of_the_memory(bits: int, grain: int, size: int) -> None:
    work = LayerWorkload(
        "m",
        "Concat",
        "move",
        macs=0,
        inputs=4000,
        weights=0,
        outputs=0,
        weight_bits=0,
        input_bits=bits,
        output_bits=bits,
    )
    assert traffic_bytes(work, replace(COSTS, stored_bits=grain)) == size


def test_energy_is_operations_and_traffic() -> None:
    cost = layer_cost(CONV, MACHINE)
    assert cost is not None
    by_hand = 1_000_000 * (0.2 + 0.1) + 8000 * (3.1 + 0.1) + 14_000 / 8 * 10
    assert cost.energy_nj == pytest.approx(by_hand / 1000)


def test_moving_data_costs_traffic_alone() -> None:
    work = LayerWorkload(
        "m",
        "Concat",
        "move",
        macs=0,
        inputs=4000,
        weights=0,
        outputs=4000,
        weight_bits=0,
        input_bits=8,
        output_bits=8,
    )
    assert operations_pj(work, MACHINE) == 0
    cost = layer_cost(work, MACHINE)
    assert cost is not None
    assert cost.energy_nj == pytest.approx(8000 / 8 * 10 / 1000)


def test_a_shift_is_cheaper_than_a_factor_and_a_float_dearer() -> None:
    assert (
        requantize_pj("shift", 32)
        < requantize_pj("wide", 32)
        < requantize_pj("double", 32)
        < requantize_pj("half-even", 32)
    )


def test_a_machine_of_unknown_speed_has_no_cost() -> None:
    assert layer_cost(CONV, profile_of("tflm")) is None


def test_narrower_operands_never_cost_more() -> None:
    for name in ("accel-4bit", "cmsis-nn-m55", "avx2", "dsp-po2"):
        profile = profile_of(name)
        costs = [
            layer_cost(replace(CONV, weight_bits=bits, input_bits=bits, output_bits=bits), profile)
            for bits in (1, 2, 4, 8)
        ]
        assert all(cost is not None for cost in costs)
        energies, cycles = zip(
            *[(cost.energy_nj, cost.cycles) for cost in costs if cost is not None], strict=True
        )
        assert list(energies) == sorted(energies)
        assert list(cycles) == sorted(cycles)


def test_layers_follow_each_other() -> None:
    costs = [LayerCost(100, 0.1, "compute", 10, 1.0), LayerCost(150, 0.15, "memory", 20, 2.0)]
    assert total(costs) == LayerCost(250, 0.25, "memory", 30, 3.0)
    assert total([]) is None
