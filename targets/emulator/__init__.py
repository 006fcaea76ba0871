"""edgeq's own integer-only interpreter, with the arithmetic of other machines as data.

It answers what a machine that one does not own would answer, and says per layer what its arithmetic did on the way.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from edgeq.files import read_bytes
from edgeq.target import Availability, Capabilities
from edgeq.targets._probe import Runtime, find, probe, require_format
from edgeq.targets.emulator.profiles import PROFILES

if TYPE_CHECKING:
    from pathlib import Path

    from edgeq.targets.emulator.numerics import Profile
    from edgeq.targets.emulator.session import EmulatorSession

_RUNTIMES = (Runtime("torch", "torch"),)


@dataclass(frozen=True, slots=True)
class EmulatorTarget:
    """The emulator of one machine.

    Attributes:
        profile: the machine's arithmetic.
        capabilities: what it can run.
    """

    profile: Profile
    capabilities: Capabilities

    def probe(self) -> Availability:
        """Whether torch, which it computes with, can be imported."""
        return probe(_RUNTIMES)

    def open(self, artefact: Path, *, threads: int = 1, intermediates: bool = False) -> EmulatorSession:
        """Load a TFLite or QDQ ONNX file; see :meth:`edgeq.target.Target.open`."""
        require_format(artefact, self.capabilities)
        find(_RUNTIMES)
        from edgeq.targets.emulator.from_tflite import read_tflite
        from edgeq.targets.emulator.session import EmulatorSession

        from edgeq.targets._flatbuffer import check_model

        content = read_bytes(artefact, "TFLite model")
        check_model(content, artefact)
        return EmulatorSession(read_tflite(content, artefact, self.profile), self.profile, threads=threads, intermediates=intermediates)


def target_of(profile: Profile) -> EmulatorTarget:
    """The target of a profile."""
    capabilities = Capabilities(
        formats=frozenset({"tflite"}),
        carriers=profile.carriers or frozenset({"int8", "uint8", "int16"}),
        per_channel=profile.per_channel,
        intermediates=True,
        latency="simulated",
        summary=f"edgeq's integer emulator: {profile.summary}",
    )
    return EmulatorTarget(profile, capabilities)


tflite_reference = target_of(PROFILES["tflite-reference"])
