"""Other runtimes against those of this machine: integers and instructions.

The aarch64 builds under QEMU, tflite-runtime and TensorFlow.

    python -m benchmarks.other_runtimes [--instructions]

ResNet-20 with the pretrained weights in EDGEQ_DATA (else random ones), calibrated by min-max to
8W/8A and 4W/4A. Instructions take some minutes a file and processor.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, cast

import numpy as np

from benchmarks.support.command import run
from benchmarks.support.networks import build
from edgeq.calibration.config import CalibrationConfig
from edgeq.calibration.quantize import quantize_onnx
from edgeq.deploy.pipeline.export import export
from edgeq.errors import EdgeqError
from edgeq.exporter import ExportOptions
from edgeq.formats.onnx_io import serialize
from edgeq.qdq.qoperator.convert import read_as_qdq
from edgeq.qdq.reader import read_qdq
from edgeq.target import TARGETS, Counting

if TYPE_CHECKING:
    from benchmarks.support.networks import Network
    from edgeq.formats.dialect import ActivationDtype

SAMPLES = 16
BITS = ((8, 8), (4, 4))
CPUS = ("cortex-a53", "cortex-a76", "max")
PAIRS = {
    "onnx": [(f"arm64-ort:{cpu}", "ort-cpu") for cpu in CPUS],
    "tflite": [
        *((f"arm64-tflite:{cpu}", "tflite") for cpu in CPUS),
        *(
            (f"{name}:{kernels}", ours)
            for name in ("tensorflow", "tflite-runtime")
            for kernels, ours in (
                ("xnnpack", "tflite"),
                ("builtin", "tflite-builtin"),
                ("reference", "tflite-ref"),
            )
        ),
    ],
}


def main() -> None:
    """Compare and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--instructions", action="store_true")
    arguments = parser.parse_args()
    network = build("resnet20-a")
    print(
        "| network | file | target | against | outputs that differ | instructions "
        "|\n|---|---|---|---|---|---|"
    )
    with tempfile.TemporaryDirectory() as folder:
        for weights, activations in BITS:
            _measure(network, weights, activations, Path(folder), count=arguments.instructions)


def _measure(
    network: Network, weights: int, activations: int, folder: Path, *, count: bool
) -> None:
    source = folder / f"{weights}w{activations}a.onnx"
    source.write_bytes(
        serialize(
            quantize_onnx(
                network.model,
                [network.calibration],
                CalibrationConfig(weight_bits=weights, act_bits=activations, methods=()),
            )
        )
    )
    step = float(read_qdq(read_as_qdq(source)).outputs[0].tensor.scale)
    for activation_dtype, formats in (("uint8", ["onnx", "tflite"]), ("int8", ["onnx"])):
        options = ExportOptions(activation_dtype=cast("ActivationDtype", activation_dtype))
        for written in export(
            source, formats, folder, options, stem=f"{source.stem}-{activation_dtype}"
        ):
            kind = f"ONNX {activation_dtype}" if written.format == "onnx" else "TFLite"
            for target, ours in PAIRS[written.format]:
                cells = [
                    f"{network.name} {weights}W/{activations}A",
                    kind,
                    target,
                    ours,
                    _differing(network, written.path, target, ours, step),
                ]
                print(
                    f"| {' | '.join(cells)} | "
                    f"{_instructions(written.path, target) if count else '–'} |",
                    flush=True,
                )


def _differing(network: Network, path: Path, target: str, ours: str, step: float) -> str:
    answers = []
    try:
        for name in (target, ours):
            with TARGETS.load(name).open(path) as session:
                answers.append(session.run(network.evaluation[:SAMPLES]))
    except EdgeqError as error:
        return error.what
    distance = np.rint(np.abs(answers[0] - answers[1]) / step).astype(int)
    return f"{np.count_nonzero(distance)} of {distance.size}" + (
        f", by at most {distance.max()} LSB" if distance.any() else ""
    )


def _instructions(path: Path, target: str) -> str:
    found = TARGETS.load(target)
    return f"{found.instructions(path):,}" if isinstance(found, Counting) else "–"


if __name__ == "__main__":
    run(main)
