"""Torch → canonical QDQ ONNX → TFLite in seconds, beside ``torch.onnx.export``.

    python -m benchmarks.export_time [resnet56]

Both run in a process of their own, so that imports count; ours writes both files with their proof,
torch's exporter writes the float network only, which is the least it could do. Then the step from a
QDQ ONNX file to TFLite bytes alone, with the memory it takes at its peak, by which the process is
larger than before (Linux tells it).
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.support.command import run
from benchmarks.support.networks import build
from edgeq.calibration.quantize import quantize_onnx
from edgeq.formats.onnx_io import serialize

if TYPE_CHECKING:
    from collections.abc import Sequence

_OURS = """
import time; start = time.perf_counter()
def lap(what):
    global start
    now = time.perf_counter(); print(f"  {what:34s} {now - start:6.2f} s"); start = now
import torch
from edgeq.models import zoo
from edgeq.training.qat_transform import quantize
from edgeq.training.recipes.scheme import Scheme
from edgeq.exporters.torch.lower import lower
from edgeq.exporters import tflite
from edgeq.exporters import onnx
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
print(f"  {{'imports, build':34s}} {{time.perf_counter() - start:6.2f}} s")
start = time.perf_counter()
torch.onnx.export(model, (torch.randn(1, 3, 32, 32),), dynamo=True, verbose=False)
print(f"  {{'torch.onnx.export, float':34s}} {{time.perf_counter() - start:6.2f}} s")
"""


_TFLITE = """
import gc, json, sys, time
from pathlib import Path
from edgeq.exporter import ExportOptions
from edgeq.qdq.qoperator.convert import read_as_qdq
from edgeq.exporters.tflite import exporter
def memory(what):
    lines = open("/proc/self/status")
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(what))
# a small model first, so that everything is imported
exporter.export(read_as_qdq(Path(sys.argv[2])), ExportOptions())
gc.collect()
open("/proc/self/clear_refs", "w").write("5")  # the peak begins anew
before, start = memory("VmRSS"), time.perf_counter()
exported = exporter.export(read_as_qdq(Path(sys.argv[1])), ExportOptions())
seconds = time.perf_counter() - start
grown, different = memory("VmHWM") - before, len(exported.parity.different)
print(json.dumps({"seconds": seconds, "grown": grown, "different": different}))
"""


def from_qdq(names: Sequence[str]) -> None:
    """Time and memory from QDQ ONNX to TFLite bytes, proof included."""
    with tempfile.TemporaryDirectory() as folder:
        small = _written("resnet8", Path(folder))
        for name in names:
            path = _written(name, Path(folder))
            found, size = _measured(path, small), path.stat().st_size
            print(
                f"{name}, QDQ ONNX of {size / 1e6:.2f} MB to TFLite: "
                f"{found['seconds']:.2f} s, {found['different']} numbers different; "
                f"at its peak the process is larger by {found['grown'] / size:.1f} times the file"
            )


def _written(name: str, folder: Path) -> Path:
    network = build(name)
    path = folder / f"{name}.onnx"
    path.write_bytes(serialize(quantize_onnx(network.model, [network.calibration[:4]])))
    return path


def _measured(path: Path, small: Path) -> Any:
    command = [sys.executable, "-c", _TFLITE, str(path), str(small)]
    return json.loads(
        subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()[-1]
    )


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("model", nargs="?", default="resnet56", help="a network of the zoo")
    model: str = parser.parse_args().model
    for name, code in (
        (f"edgeq, {model} 8W/8A", _OURS.replace("{model}", model)),
        (f"torch.onnx.export, {model} FP32", _PEER.format(model=model)),
    ):
        print(name, flush=True)
        subprocess.run([sys.executable, "-c", code], check=True)
    from_qdq((model, "mobilenetv2-224"))


if __name__ == "__main__":
    run(main)
