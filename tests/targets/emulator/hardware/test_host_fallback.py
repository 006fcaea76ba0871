"""Which layers a machine computes itself."""

from __future__ import annotations

from dataclasses import replace

import pytest

from edgeq.errors import TargetError
from edgeq.targets.emulator.hardware.host_fallback import host_of, on_hardware
from edgeq.targets.emulator.hardware.profiles import profile_of

ACCELERATOR = profile_of("accel-4bit")


@pytest.mark.parametrize(("weight_bits", "input_bits"), [(4, 4), (1, 2), (0, 4)])
def test_what_fits_stays_on_the_machine(weight_bits: int, input_bits: int) -> None:
    assert on_hardware(ACCELERATOR, "layer", weight_bits, input_bits) is ACCELERATOR


@pytest.mark.parametrize(("weight_bits", "input_bits"), [(5, 4), (4, 8), (0, 5)])
def test_what_is_wider_goes_to_the_host(weight_bits: int, input_bits: int) -> None:
    found = on_hardware(ACCELERATOR, "layer", weight_bits, input_bits)
    assert found == host_of(ACCELERATOR)
    assert (found.accumulator_bits, found.overflow, found.rounding, found.costs) == (
        32,
        "wrap",
        ACCELERATOR.rounding,
        None,
    )


def test_a_machine_without_a_host_refuses_it_by_name() -> None:
    alone = replace(ACCELERATOR, on_unsupported_width="refuse")
    with pytest.raises(
        TargetError,
        match=r"'stem' has weights of 8 bits and inputs of 4, and accel-4bit takes at most "
        r"weights of 4 bits",
    ):
        on_hardware(alone, "stem", 8, 4)
