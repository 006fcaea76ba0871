"""ResNet-56 in 8 bits against FP32: one thread, batch 1, all four files interleaved in one run.

    python -m benchmarks.speedup [--seconds 5]

The weights are random, calibrated on random images: latency does not depend on them.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

import numpy as np

from benchmarks.support.command import run
from edgeq.calibration.quantize import fold_onnx, quantize_onnx
from edgeq.deploy.evaluation.chain import Pair
from edgeq.deploy.evaluation.profile import profile
from edgeq.deploy.pipeline.export import export
from edgeq.exporter import ExportOptions
from edgeq.exporters.torch.lower import lower
from edgeq.formats.onnx_io import serialize
from edgeq.machine import fingerprint
from edgeq.models import zoo
from edgeq.timing import ratio

SHAPE = (3, 32, 32)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="resnet56")
    parser.add_argument("--seconds", type=float, default=5.0)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        files = _files(arguments.model, Path(folder))
        pairs = [
            Pair(files[kind, width], target)
            for kind, target in (("onnx", "ort-cpu"), ("tflite", "tflite"))
            for width in ("FP32", "8W/8A")
        ]
        profiles = profile(pairs, seconds=arguments.seconds)
    print(f"{arguments.model}, one thread, batch 1, on {fingerprint().cpu}")
    for slow, fast in zip(profiles[::2], profiles[1::2], strict=True):
        times = ratio(slow.latency, fast.latency)
        print(
            f"{slow.target:8s} FP32 {slow.latency.p50_ms:6.3f} ms   8W/8A "
            f"{fast.latency.p50_ms:6.3f} ms   "
            f"{times.value:.2f} times faster (95 %: {times.low:.2f} to {times.high:.2f})"
        )
        for taken in (slow, fast):
            if not taken.latency.trustworthy:
                print(f"         not to be trusted: {taken.artefact}: {taken.latency.why}")


def _files(model: str, folder: Path) -> dict[tuple[str, str], Path]:
    """FP32 and 8-bit files of one network, in both formats."""
    images = np.random.default_rng(0).standard_normal((32, *SHAPE), np.float32)
    floats = lower(zoo.build(model, classes=10), SHAPE)
    files = {}
    for width, graph in (("FP32", fold_onnx(floats)), ("8W/8A", quantize_onnx(floats, [images]))):
        path = folder / f"{width.replace('/', '')}.onnx"
        path.write_bytes(serialize(graph))
        (tflite,) = export(path, ["tflite"], folder, ExportOptions())
        files["onnx", width], files["tflite", width] = path, tflite.path
    return files


if __name__ == "__main__":
    run(main)
