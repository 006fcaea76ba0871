"""Where a layer is computed.

On the machine, or, where its operands are wider than the machine takes, on the host beside it.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from edgeq.errors import TargetError

if TYPE_CHECKING:
    from edgeq.targets.emulator.hardware.machine import HardwareProfile

_HOST_BITS = 32
_ANY = (1, 16)


def on_hardware(
    profile: HardwareProfile, layer: str, weight_bits: int, input_bits: int
) -> HardwareProfile:
    """The arithmetic that a layer meets.

    The machine's, or its host's, which adds up exactly in 32 bits.

    Args:
        profile: the machine.
        layer: its name, for messages.
        weight_bits: the width that its weights need; 0 without weights.
        input_bits: the width that its inputs need.

    Raises:
        TargetError: it is wider than the machine takes, and there is no host.
    """
    takes = weight_bits <= profile.weight_bits[1] and input_bits <= profile.activation_bits[1]
    if takes:
        return profile
    if profile.on_unsupported_width == "refuse":
        least = (
            f"weights of {profile.weight_bits[1]} bits and activations of "
            f"{profile.activation_bits[1]} bits"
        )
        raise TargetError(
            f"{layer!r} has weights of {weight_bits} bits and inputs of {input_bits}, and "
            f"{profile.name} takes at most {least}",
            hint="quantise it to fewer bits, or write on_unsupported_width = 'host' in the "
            "machine's profile",
        )
    return host_of(profile)


def host_of(profile: HardwareProfile) -> HardwareProfile:
    """The processor beside the machine.

    The same rounding, 32 bits to add up in, of unknown speed.
    """
    return replace(
        profile,
        name=f"the host of {profile.name}",
        accumulator_bits=_HOST_BITS,
        overflow="wrap",
        products="exact",
        weight_bits=_ANY,
        activation_bits=_ANY,
        binary=False,
        costs=None,
    )
