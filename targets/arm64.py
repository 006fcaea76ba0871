"""The aarch64 builds of ONNX Runtime and LiteRT under QEMU, on a processor of choice.

``arm64-ort:cortex-a53`` and its like choose the processor; what it has (dot products, int8 matrix
products) decides which kernels the runtime takes. The integers are those of the device. The time is
QEMU's, and says nothing of one; what can be compared is how many instructions a run retires.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from edgeq.errors import TargetError
from edgeq.formats.dialect import CANONICAL, TFLITE
from edgeq.target import Availability, Capabilities, ChainLink
from edgeq.targets.common.probe import require_format
from edgeq.targets.workers.provisioning import arm64
from edgeq.targets.workers.target import WorkerTarget

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from edgeq.targets.workers.boundary import Sendable
    from edgeq.targets.workers.launchers import Launcher, Qemu
    from edgeq.targets.workers.session import WorkerSession

CPU = "cortex-a76"
_SHARED = ("numpy==2.4.6", "flatbuffers==25.12.19", "protobuf==7.36.2")


@dataclass(frozen=True, slots=True)
class Arm64Target(WorkerTarget):
    """A runtime's aarch64 build.

    Attributes as of :class:`WorkerTarget`, the processor among the options.
    """

    def variants(self) -> tuple[str, ...]:
        """Processors that are worth a comparison.

        Without and with dot products, and all that QEMU can emulate.
        """
        return ("cortex-a53", CPU, "max")

    def variant(self, kind: str) -> Arm64Target:
        """The same on another processor; QEMU says when opened whether it knows it."""
        capabilities = replace(
            self.capabilities, summary=self.capabilities.summary.replace(self.cpu, kind)
        )
        return replace(
            self,
            name=f"{self.name}:{kind}",
            capabilities=capabilities,
            options={**self.options, "cpu": kind},
        )

    @property
    def cpu(self) -> str:
        """QEMU's name of the processor."""
        return str(self.options["cpu"])

    def probe(self) -> Availability:
        """Whether it was set up and there is a QEMU that works."""
        try:
            self.place()
        except TargetError as error:
            return Availability(usable=False, why_not=error.what, hint=error.hint)
        return Availability(usable=True, versions=arm64.versions(self.requirements))

    def faults(self) -> Sequence[str]:
        """Each QEMU on this machine that crashes."""
        return [
            f"{each.program} is QEMU {each.number}: {arm64.FAULT}"
            for each in arm64.emulators()
            if not each.works
        ]

    def setup(
        self, *, force: bool = False, say: Callable[[str], None] = lambda _text: None
    ) -> Path:
        """Assemble an aarch64 Python with the runtime's wheels."""
        return arm64.make(self.requirements, self.engine, self.cpu, force=force, say=say)

    def place(self) -> Launcher:
        """Where its workers are started; see :meth:`WorkerTarget.place`."""
        return self.launcher or self._emulated()

    def start(
        self, model: Sendable, *, threads: int = 1, intermediates: bool = False
    ) -> WorkerSession:
        """Load what was read of an artefact; see :meth:`WorkerTarget.start`.

        The facts tell the processor.
        """
        has = arm64.features(self._emulated())
        session = WorkerTarget.start(self, model, threads=threads, intermediates=intermediates)
        session.facts = {
            **session.facts,
            "cpu": f"{self.cpu} emulated by QEMU {arm64.emulator().number}",
            "cpu_features": has,
        }
        return session

    def instructions(self, artefact: Path) -> int:
        """How many instructions the runtime retires for one sample; takes minutes.

        Raises:
            ArtefactError: the file is missing, broken or of another format.
            TargetError: the runtime is absent or refuses the file, or QEMU's log cannot be read.
        """
        from edgeq.targets.workers.boundary import read
        from edgeq.targets.workers.counting import instructions

        require_format(artefact, self.capabilities)
        options = {**self.options, "threads": 1, "intermediates": False}
        return instructions(
            self._emulated(),
            self.engine,
            read(artefact, qoperator=self.capabilities.qoperator),
            options,
            self.limits,
        )

    def _emulated(self) -> Qemu:
        try:
            return arm64.place(self.requirements, self.cpu)
        except TargetError as error:
            raise TargetError(
                error.what, hint=f"edgeq targets setup {self.name.partition(':')[0]}"
            ) from error


ort = Arm64Target(
    "arm64-ort",
    Capabilities(
        formats=frozenset({"onnx"}),
        storage_dtypes=frozenset({"uint8", "int8"}),
        per_channel=True,
        intermediates=False,
        latency="simulated",
        summary=f"ONNX Runtime's aarch64 build on a {CPU} under QEMU, whose time says nothing of "
        "the device",
        dialect=CANONICAL,
        qoperator=True,
        on_request=True,
        link=ChainLink(35, ("quantisation", "lowering", "graph optimisation")),
    ),
    engine="ort",
    requirements=("onnxruntime==1.31.1", *_SHARED, "packaging==26.3"),
    options={"cpu": CPU},
)
tflite = Arm64Target(
    "arm64-tflite",
    Capabilities(
        formats=frozenset({"tflite"}),
        storage_dtypes=frozenset({"int8"}),
        per_channel=True,
        intermediates=False,
        latency="simulated",
        summary=f"LiteRT's aarch64 build with XNNPACK on a {CPU} under QEMU, whose time says "
        "nothing of the device",
        dialect=TFLITE,
        on_request=True,
        link=ChainLink(78, ("quantisation", "lowering", "kernel rounding")),
    ),
    engine="tflite",
    requirements=(
        "ai-edge-litert==2.3.0",
        *_SHARED,
        "backports-strenum==1.2.8",
        "ml-dtypes==0.6.0",
        "tqdm==4.70.1",
        "typing-extensions==4.16.0",
    ),
    options={"cpu": CPU},
)
