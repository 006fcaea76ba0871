"""ONNX Runtime on NVIDIA GPUs, by CUDA or by TensorRT, in a worker.

Its package cannot share an environment with onnxruntime.

The CUDA provider has no int8 convolution: it dequantises and computes in float. The answers are
right and fast, and are not those of integer arithmetic; the facts and the audit say so. Nothing may
fall back to the CPU.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from edgeq.errors import TargetError
from edgeq.formats.dialect import CANONICAL, TENSORRT
from edgeq.target import Availability, Capabilities, ChainLink
from edgeq.targets.common.probe import require_format
from edgeq.targets.workers.target import WorkerTarget

if TYPE_CHECKING:
    from edgeq.formats.dialect import Dialect
    from edgeq.plan import Plan
    from edgeq.targets.workers.session import WorkerSession

# the last is Windows' Linux
DRIVERS = (Path("/proc/driver/nvidia/version"), Path("/dev/nvidiactl"), Path("/dev/dxg"))
_NO_GPU = "there is no NVIDIA GPU on this machine, or its driver is not loaded"
_HINT = (
    "run it where there is one; a board's table in edgeq-targets.toml names another machine by ssh"
)


@dataclass(frozen=True, slots=True)
class GpuTarget(WorkerTarget):
    """One of the two providers; attributes as of :class:`WorkerTarget`."""

    def probe(self) -> Availability:
        """Whether its environment was made, and there is a GPU."""
        found = WorkerTarget.probe(self)
        if found.usable and self.launcher is None and not _driver():
            return Availability(usable=False, why_not=_NO_GPU, hint=_HINT)
        return found

    def open(
        self, artefact: Path, *, threads: int = 1, intermediates: bool = False
    ) -> WorkerSession:
        """Load an ONNX model; see :meth:`edgeq.target.Target.open`."""
        require_format(artefact, self.capabilities)
        self.place()
        if self.launcher is None and not _driver():
            raise TargetError(_NO_GPU, hint=_HINT)
        return WorkerTarget.open(self, artefact, threads=threads, intermediates=intermediates)


@dataclass(frozen=True, slots=True)
class CudaTarget(GpuTarget):
    """The CUDA provider, which tells of each node what it computes with.

    TensorRT makes one kernel of all of them.
    """

    def plan(self, artefact: Path, *, threads: int = 1) -> Plan:
        """Which operators run in integers; see :meth:`edgeq.plan.Planner.plan`."""
        from dataclasses import replace

        from edgeq.formats.onnx_io import load
        from edgeq.targets.plans.onnx import marked
        from edgeq.targets.plans.onnx_graph import in_qdq
        from edgeq.targets.plans.ort_gpu import plan_of
        from edgeq.targets.workers.boundary import read

        require_format(artefact, self.capabilities)
        model = in_qdq(load(artefact))
        sent = replace(read(artefact), content=marked(model).SerializeToString())
        with self.start(sent, threads=threads) as session:
            return plan_of(model, session.layers)


def _driver() -> bool:
    return any(path.exists() for path in DRIVERS)


def _capabilities(summary: str, storage_dtypes: frozenset[str], dialect: Dialect) -> Capabilities:
    return Capabilities(
        formats=frozenset({"onnx"}),
        storage_dtypes=storage_dtypes,
        per_channel=True,
        intermediates=False,
        latency="measured",
        summary=summary,
        dialect=dialect,
        on_request=True,
        link=ChainLink(100, ("quantisation", "lowering", "graph optimisation", "kernel rounding")),
    )


_REQUIREMENTS = ("onnxruntime-gpu==1.31.1", "numpy==2.4.6")

cuda = CudaTarget(
    "ort-cuda",
    _capabilities(
        "ONNX Runtime's CUDA provider, which computes int8 convolutions in float",
        frozenset(),
        CANONICAL,
    ),
    engine="ort_gpu",
    requirements=_REQUIREMENTS,
    options={"provider": "CUDAExecutionProvider", "provider_options": {}},
)
tensorrt = GpuTarget(
    "ort-tensorrt",
    _capabilities(
        "ONNX Runtime's TensorRT provider, the whole graph in TensorRT",
        frozenset({"int8"}),
        TENSORRT,
    ),
    engine="ort_gpu",
    requirements=_REQUIREMENTS,
    options={"provider": "TensorrtExecutionProvider", "provider_options": {}},
)
