"""TensorFlow Lite Micro.

The interpreter that microcontrollers run, on its reference kernels, in a worker.

Its answers are those of the code that a microcontroller runs without vendor kernels. Its time is
that of plain C++ loops on this machine, and says nothing of a microcontroller. ``arena_bytes``
among its options is the arena of the device at hand; a model that needs more is refused.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from edgeq.errors import TargetError, UsageError
from edgeq.files import read_bytes
from edgeq.formats.dialect import TFLM
from edgeq.target import Capabilities, ChainLink
from edgeq.targets.workers.target import WorkerTarget

if TYPE_CHECKING:
    from pathlib import Path

    from edgeq.plan import Plan
    from edgeq.targets.workers.session import WorkerSession

_MOST = 2**31  # bytes, which the interpreter counts in 32 bits


@dataclass(frozen=True, slots=True)
class TflmTarget(WorkerTarget):
    """TensorFlow Lite Micro; attributes as of :class:`WorkerTarget`.

    Its option is ``arena_bytes``, None for an arena that is sized to fit.
    """

    def open(
        self, artefact: Path, *, threads: int = 1, intermediates: bool = False
    ) -> WorkerSession:
        """Load a TFLite model; see :meth:`edgeq.target.Target.open`."""
        try:
            return WorkerTarget.open(self, artefact, threads=threads, intermediates=intermediates)
        except TargetError as error:
            if "needs an arena" in error.what:
                raise TargetError(
                    error.what, hint="give it a larger one (tflm:BYTES), or make the model smaller"
                ) from error
            if "ARG_MAX" in error.what and "INT64" in error.what:
                raise TargetError(
                    error.what, hint="put a Cast to int32 behind the ArgMax, and export it again"
                ) from error
            raise

    def variants(self) -> tuple[str, ...]:
        """None that could be listed; see :meth:`variant`."""
        return ()

    def variant(self, kind: str) -> TflmTarget:
        """The same interpreter with an arena of a given size.

        Args:
            kind: the size in bytes.

        Raises:
            UsageError: it is no size.
        """
        if not kind.isdecimal() or not 0 < int(kind) < _MOST:
            raise UsageError(
                f"{kind!r} is no size of an arena",
                hint=f"write the bytes that the device has for it, {self.name}:65536",
            )
        return replace(
            self, name=f"{self.name}:{kind}", options={**self.options, "arena_bytes": int(kind)}
        )

    def plan(self, artefact: Path, *, threads: int = 1) -> Plan:
        """Which operators run in integers; see :meth:`edgeq.plan.Planner.plan`.

        There is one kernel an operator and no delegate.
        """
        from edgeq.formats.tflite_file import graphs_of
        from edgeq.targets.plans.tflite import plan_of

        # every operator runs once there, so that what has no kernel is refused
        self.open(artefact, threads=threads).close()
        return plan_of(graphs_of(read_bytes(artefact, "TFLite model")), (), delegate=False)


tflm = TflmTarget(
    "tflm",
    Capabilities(
        formats=frozenset({"tflite"}),
        storage_dtypes=frozenset({"int8", "int16"}),
        per_channel=True,
        intermediates=True,
        latency="simulated",
        summary="TensorFlow Lite Micro's interpreter with its reference kernels, on this machine; "
        "the time is not a microcontroller's",
        dialect=TFLM,
        link=ChainLink(80, ("quantisation", "lowering", "kernel rounding")),
    ),
    engine="tflm",
    requirements=("tflite-micro==0.dev20261023182759",),
    modules=("tflite_micro",),
    options={"arena_bytes": None},
)
