"""edgeq's own integer-only interpreter, with the arithmetic of other machines as data.

It answers what a machine that one does not own would answer, and says per layer what its arithmetic
did on the way.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from edgeq.files import read_bytes
from edgeq.formats.dialect import CANONICAL, TFLITE
from edgeq.target import Availability, Capabilities, ChainLink
from edgeq.targets.common.probe import Runtime, find, probe, require_format

if TYPE_CHECKING:
    from pathlib import Path

    from edgeq.plan import Plan
    from edgeq.target import LatencyKind
    from edgeq.targets.emulator.hardware.machine import HardwareProfile
    from edgeq.targets.emulator.program import Program
    from edgeq.targets.emulator.session import EmulatorSession

_RUNTIMES = (Runtime("torch", "torch"),)
_ONNX = ".onnx"
_REFERENCES = {_ONNX: "onnx-reference", ".tflite": "tflite-reference"}


@dataclass(frozen=True, slots=True)
class EmulatorTarget:
    """The emulator of a machine; in ``emulator:NAME``, NAME is a profile or the path of one.

    Attributes:
        capabilities: what it can run.
        profile: the name of the machine, or the path of its file; empty for the reference of the
            file's own format.
    """

    capabilities: Capabilities
    profile: str = ""

    def probe(self) -> Availability:
        """Whether torch, which it computes with, can be imported."""
        return probe(_RUNTIMES)

    def open(
        self, artefact: Path, *, threads: int = 1, intermediates: bool = False
    ) -> EmulatorSession:
        """Load a TFLite or QDQ ONNX file; see :meth:`edgeq.target.Target.open`."""
        program, profile = self._program(artefact)
        from edgeq.targets.emulator.session import EmulatorSession, EstimatedSession

        session = EmulatorSession if profile.costs is None else EstimatedSession
        return session(program, profile, threads=threads, intermediates=intermediates)

    def open_replay(self, artefact: Path, *, threads: int = 1) -> EmulatorSession:
        """Load a file whose operators are given numbers; see :mod:`edgeq.diffing.replay`.

        Results near ties are not settled: what they are held against may be a step off either way.
        """
        settled = self._profile(artefact)
        program, profile = self._program(artefact, replace(settled, settles_ties=False))
        from edgeq.targets.emulator.session import EmulatorSession

        return EmulatorSession(program, profile, threads=threads, intermediates=True)

    def plan(self, artefact: Path, *, threads: int = 1) -> Plan:  # noqa: ARG002
        """Which operators run in integers.

        All, or the file is refused; see :meth:`edgeq.plan.Planner.plan`.
        """
        program, _ = self._program(artefact)
        from edgeq.targets.emulator.planning import plan_of

        return plan_of(program)

    def details(self) -> list[tuple[str, str]]:
        """The machine's arithmetic and speed, every figure with its source."""
        from edgeq.targets.emulator.hardware.profiles import described, profile_of

        return described(profile_of(self.profile)) if self.profile else []

    def variants(self) -> tuple[str, ...]:
        """The machines that come with edgeq."""
        from edgeq.targets.emulator.hardware.profiles import names

        return () if self.profile else names()

    def variant(self, kind: str) -> EmulatorTarget:
        """The emulator of one machine.

        Raises:
            UnknownName: no machine of that name.
            ArtefactError: the user's description of it is wrong.
        """
        from edgeq.targets.emulator.hardware.profiles import profile_of

        return target_of(profile_of(kind), kind)

    def _profile(self, artefact: Path) -> HardwareProfile:
        require_format(artefact, self.capabilities)
        from edgeq.targets.emulator.hardware.profiles import profile_of

        return profile_of(self.profile or _REFERENCES[artefact.suffix])

    def _program(
        self, artefact: Path, machine: HardwareProfile | None = None
    ) -> tuple[Program, HardwareProfile]:
        profile = machine or self._profile(artefact)
        find(_RUNTIMES)
        if artefact.suffix == _ONNX:
            from edgeq.formats.onnx_io import load
            from edgeq.targets.emulator.onnx.program import read_onnx

            return read_onnx(load(artefact), artefact, profile), profile
        from edgeq.formats.tflite_validation import check_model
        from edgeq.targets.emulator.tflite.program import read_tflite

        content = read_bytes(artefact, "TFLite model")
        check_model(content, artefact)
        return read_tflite(content, artefact, profile), profile


def target_of(profile: HardwareProfile, name: str) -> EmulatorTarget:
    """The target of a machine.

    Args:
        profile: the machine.
        name: by which :func:`edgeq.targets.emulator.hardware.profiles.profile_of` finds it.
    """
    general = _capabilities(
        profile.storage_dtypes,
        f"edgeq's emulator: {profile.summary}",
        per_channel=profile.per_channel,
    )
    latency: LatencyKind = "simulated" if profile.costs is None else "estimated"
    shifts = profile.rounding.startswith("shift")
    in_pairs = profile.products == "pairs-int16"
    own = replace(
        general,
        latency=latency,
        on_request=True,
        power_of_two=shifts,
        saturating_pairs="across" if in_pairs else "never",
        emulates_pairs=in_pairs,
    )
    return EmulatorTarget(own, name)


def _capabilities(
    storage_dtypes: frozenset[str], summary: str, *, per_channel: bool
) -> Capabilities:
    return Capabilities(
        formats=frozenset({"onnx", "tflite"}),
        storage_dtypes=storage_dtypes or frozenset({"int8", "uint8", "int16"}),
        per_channel=per_channel,
        intermediates=True,
        latency="simulated",
        summary=summary,
        # it answers what tflite-ref and ort-cpu-ref do, or for machines that somebody has to mean
        on_request=True,
        replays=True,
        link=ChainLink(40, ("quantisation", "lowering", "emulation")),
        dialect=TFLITE if storage_dtypes and "uint8" not in storage_dtypes else CANONICAL,
    )


emulator = EmulatorTarget(
    _capabilities(
        frozenset(),
        "edgeq's integer emulator: TFLite's reference kernels, or ONNX to the letter",
        per_channel=True,
    )
)
