"""What networks need on TensorFlow Lite Micro and on Ethos-U NPUs.

Arena, cycles, memories, inferences a second.

    python -m benchmarks.microcontrollers [--model resnet56]

The networks are quantised as for training, with random weights. Arena and feature maps do not
depend on the weights; what Vela packs them into, and the time to fetch that, does to some extent.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

import torch

from benchmarks.support.command import run
from edgeq.exporter import ExportOptions
from edgeq.exporters.tflite import exporter
from edgeq.exporters.torch.lower import lower
from edgeq.models import zoo
from edgeq.target import TARGETS
from edgeq.training.qat_transform import quantize
from edgeq.training.recipes.scheme import Scheme

SHAPE = (3, 32, 32)
NPUS = ("ethos-u55", "ethos-u65", "ethos-u85")
_FIXED = ("sram_bytes", "off_chip_flash_bytes", "dram_bytes")


def main() -> None:
    """Compile and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", action="append")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        for model in arguments.model or ("resnet20", "resnet56", "stable-resnet56"):
            for scheme in (Scheme(8, 8), Scheme(4, 8), Scheme(4, 4)):
                _tell(f"{model} {scheme.name}", _file(model, scheme, Path(folder)))


def _file(model: str, scheme: Scheme, folder: Path) -> Path:
    torch.manual_seed(0)
    network = quantize(zoo.build(model, classes=10), scheme)
    with torch.no_grad():
        network.train()(torch.randn(32, *SHAPE))  # sets the ranges
    path = folder / f"{model}.tflite"
    path.write_bytes(exporter.export(lower(network.eval(), SHAPE), ExportOptions()).content)
    return path


def _tell(name: str, path: Path) -> None:
    with TARGETS.load("tflm").open(path) as session:
        arena = session.facts
    print(
        f"{name}, {path.stat().st_size:,} bytes: tflm, arena {int(arena['arena_bytes']):,} "
        f"bytes ({arena['arena_use']})"
    )
    for target in NPUS:
        with TARGETS.load(target).open(path) as session:
            facts = session.facts
        memories = ", ".join(
            f"{kind.removesuffix('_bytes')} {int(facts[kind]):,}"
            for kind in _FIXED
            if kind in facts
        )
        setting = f"{facts['accelerator']}, {facts['clock_mhz']} MHz"
        print(
            f"  {target} ({setting}): {facts['on_npu']} on the NPU, "
            f"{int(facts['cycles']):,} cycles,"
        )
        print(f"    {facts['inferences_per_second']} inferences a second; bytes: {memories}")


if __name__ == "__main__":
    run(main)
