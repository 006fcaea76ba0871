"""Torch → canonical QDQ ONNX → TFLite for a quantised network, each part in seconds, beside ``torch.onnx.export``.

    python -m benchmarks.export_time

Both run in a process of their own, so that imports count; ours writes both files with their proof, torch's exporter writes the
float network only, which is the least it could do.
"""

from __future__ import annotations

import subprocess
import sys

_OURS = """
import time; start = time.perf_counter()
def lap(what):
    global start
    now = time.perf_counter(); print(f"  {what:34s} {now - start:6.2f} s"); start = now
import torch
from edgeq.models import zoo
from edgeq.training.insertion import quantize
from edgeq.training.scheme import Scheme
from edgeq.exporters.lower import lower
from edgeq.exporters import onnx, tflite
from edgeq.exporter import ExportOptions
lap("imports")
model = quantize(zoo.build("{model}", classes=10), Scheme(8, 8)).train()
model(torch.randn(8, 3, 32, 32))
lap("build, quantise, one batch")
canonical = lower(model, (3, 32, 32))
lap("torch to canonical QDQ ONNX")
onnx.exporter.export(canonical, ExportOptions())
lap("ONNX file, proved")
tflite.exporter.export(canonical, ExportOptions())
lap("TFLite file, proved")
"""

_PEER = """
import time, warnings, logging; start = time.perf_counter()
warnings.simplefilter("ignore"); logging.disable(logging.WARNING)
import torch, onnxscript
from edgeq.models import zoo
model = zoo.build("{model}", classes=10).eval()
print(f"  {{'imports, build':34s}} {{time.perf_counter() - start:6.2f}} s"); start = time.perf_counter()
torch.onnx.export(model, (torch.randn(1, 3, 32, 32),), dynamo=True, verbose=False)
print(f"  {{'torch.onnx.export, float':34s}} {{time.perf_counter() - start:6.2f}} s")
"""


def main(model: str = "resnet56") -> None:
    """Measure and print."""
    for name, code in (
        (f"edgeq, {model} 8W/8A", _OURS.replace("{model}", model)),
        (f"torch.onnx.export, {model} FP32", _PEER.format(model=model)),
    ):
        print(name, flush=True)
        subprocess.run([sys.executable, "-c", code], check=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
