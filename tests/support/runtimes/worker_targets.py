"""The two runtimes that are always here, in workers of this interpreter."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from edgeq.targets import ort, tflite
from edgeq.targets.workers.launchers import Here
from edgeq.targets.workers.target import WorkerTarget

if TYPE_CHECKING:
    from collections.abc import Mapping

WORKERS: Mapping[str, WorkerTarget] = {
    target.name: target
    for target in (
        WorkerTarget(
            "worker-ort", replace(ort.cpu.capabilities, intermediates=False), "ort", launcher=Here()
        ),
        WorkerTarget(
            "worker-tflite",
            tflite.xnnpack.capabilities,
            "tflite",
            options={"kernels": "xnnpack"},
            launcher=Here(),
        ),
        WorkerTarget(
            "worker-tflite-ref",
            tflite.reference.capabilities,
            "tflite",
            options={"kernels": "reference"},
            launcher=Here(),
        ),
    )
}
