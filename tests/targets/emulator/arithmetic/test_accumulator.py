"""Which accumulator a layer meets on which machine."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from edgeq.targets.emulator.arithmetic.accumulator import Accumulator, Operands, largest_sum
from edgeq.targets.emulator.arithmetic.elementwise import CenteredRange
from edgeq.targets.emulator.hardware.host_fallback import host_of
from edgeq.targets.emulator.hardware.profiles import profile_of
from edgeq.targets.emulator.program import Log, OverflowStats

AVX2, ACCELERATOR, TFLM = profile_of("avx2"), profile_of("accel-4bit"), profile_of("tflm")
STRONG, WEAK = torch.tensor([[127.0, 127.0]]), torch.tensor([[7.0, -7.0]])
BYTE = CenteredRange(-100, 155)  # levels of uint8 with zero point 100


@pytest.mark.parametrize(
    ("weights", "bits"),
    [
        ([1, -1], 1),
        ([1, 0], 2),
        ([0, 0], 1),
        ([7, -8], 4),
        ([8, 0], 5),
        ([-8, -8], 4),
        ([127, -128], 8),
        ([-129], 9),
    ],
)
def test_the_width_of_weights(weights: list[int], bits: int) -> None:
    assert Operands(torch.tensor([weights]).float(), BYTE).weight_bits == bits


def test_a_zero_point_takes_no_bit_of_weights_that_are_stored_as_bytes() -> None:
    centered = torch.tensor([[137.0, -118.0]])
    assert Operands(centered, BYTE).weight_bits == 9
    assert Operands(centered, BYTE, weight_zero=(118,), weight_dtype="uint8").weight_bits == 8


@pytest.mark.parametrize(
    ("low", "high", "bits"),
    [(0, 15, 4), (0, 16, 5), (-8, 7, 4), (-100, 155, 8), (0, 1, 1), (0, 0, 0)],
)
def test_the_width_of_inputs(low: int, high: int, bits: int) -> None:
    assert Operands(WEAK, CenteredRange(low, high)).input_bits == bits


@pytest.mark.parametrize(
    ("operands", "shows"),
    [
        (Operands(STRONG, BYTE, 100, "uint8"), True),
        (Operands(STRONG, BYTE, 100, "uint8", depthwise=True), False),
        (Operands(STRONG, BYTE, 100, "int8"), False),
        (Operands(WEAK, BYTE, 100, "uint8"), False),
        # 120 at most: 2 * 120 * 127 fits 16 bits
        (Operands(STRONG, CenteredRange(-100, 20), 100, "uint8"), False),
        (Operands(STRONG, BYTE, 100, "uint8", weight_dtype="int8"), True),
        (Operands(STRONG, BYTE, 100, "uint8", weight_zero=(128,), weight_dtype="uint8"), False),
        # pairs are of what is stored
        (Operands(STRONG - 120, BYTE, 100, "uint8", weight_zero=(120,), weight_dtype="int8"), True),
        (None, False),
    ],
)
def test_where_avx2_adds_pairs_that_can_saturate(operands: Operands | None, shows: bool) -> None:
    found = Accumulator.of("layer", AVX2, 1e6, operands)
    assert found.fits is not shows
    assert found.profile.products == ("pairs-int16" if shows else "exact")


def test_pairs_are_made_of_what_is_stored() -> None:
    log = Log()
    machine = Accumulator.of("layer", AVX2, 1e6, Operands(STRONG, BYTE, 100, "uint8"))
    sums = machine.step_by_step(torch.tensor([[155.0, 155.0], [-100.0, -100.0]]), STRONG, None, log)
    assert sums.tolist() == [[32767 - 100 * 254], [-100 * 254]]
    assert log.stats["layer"] == OverflowStats(sums=2, steps=2, pairs=1, wrong=1)


def test_wide_operands_meet_the_host() -> None:
    wide, narrow = Operands(STRONG, BYTE), Operands(WEAK, CenteredRange(0, 15))
    assert Accumulator.of("layer", ACCELERATOR, 1e6, wide).profile == host_of(ACCELERATOR)
    assert Accumulator.of("layer", ACCELERATOR, 1e6, wide).fits
    assert Accumulator.of("layer", ACCELERATOR, 1e6, narrow).profile == ACCELERATOR
    assert not Accumulator.of("layer", ACCELERATOR, 1e6, narrow).fits
    assert Accumulator.of("layer", ACCELERATOR, 2.0**15 - 1, narrow).fits


def test_binary_layers_are_counted_where_the_machine_counts() -> None:
    weights, rows = torch.randint(0, 2, (3, 70)) * 2.0 - 1, torch.randint(0, 2, (5, 70)) * 2.0 - 1
    operands, start, log = (
        Operands(weights, CenteredRange(-1, 1)),
        torch.tensor([1.0, -2.0, 3.0]),
        Log(),
    )
    counting = Accumulator.of("layer", ACCELERATOR, largest_sum(weights, start, 1), operands)
    assert counting.binary
    assert not counting.fits
    assert torch.equal(
        counting.step_by_step(rows, weights, start, log), (rows @ weights.T + start).to(torch.int64)
    )
    assert log.stats["layer"] == OverflowStats(sums=15, steps=15 * 70)
    assert not Accumulator.of("layer", replace(ACCELERATOR, binary=False), 73, operands).binary
    assert not Accumulator.of("layer", ACCELERATOR, 73, Operands(WEAK, CenteredRange(-1, 1))).binary


def test_what_fits_is_computed_in_the_narrowest_float_that_is_exact() -> None:
    assert Accumulator.of("layer", TFLM, 2.0**24 - 1).dtype == torch.float32
    assert Accumulator.of("layer", TFLM, 2.0**24).dtype == torch.float64
    assert largest_sum(torch.tensor([[1.0, -2.0], [3.0, 0.0]]), torch.tensor([-5.0, 0.0]), 10) == 35
