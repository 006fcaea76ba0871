"""What a grid of their own gives means over large windows, beside the grid of what they average.

    EDGEQ_DATA=DIR python -m benchmarks.averages

Each network is calibrated twice by min-max: with means on the grid of what they read, as integer
average pooling computes them, and as ``edgeq calibrate`` does. SQNR of the outputs against the
float network, on images that were not calibrated on, by ONNX Runtime without optimisation.
"""

from __future__ import annotations

import argparse
import os
import tempfile
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING
from unittest.mock import patch

import numpy as np

from benchmarks.support.command import run
from benchmarks.support.networks import build
from edgeq.calibration.quantize import fold_onnx, quantize_onnx
from edgeq.data import load, normalize
from edgeq.formats.onnx_io import serialize
from edgeq.qdq.qoperator.convert import read_as_qdq
from edgeq.target import TARGETS

if TYPE_CHECKING:
    from collections.abc import Iterator

    import onnx_ir as ir
    from numpy.typing import NDArray

NETWORKS = ("resnet20-a", "resnet56-a", "resnet8", "mobilenetv2-32")
CALIBRATION, SAMPLES = 200, 200


def main() -> None:
    """Measure and print."""
    argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    ).parse_args()
    print(f"{'':16s} {'grid read, dB':>14s} {'own grid, dB':>13s}")
    for name in NETWORKS:
        model, calibration, images = _case(name)
        with _on_the_grid_they_read():
            shared = quantize_onnx(model, [calibration])
        own = quantize_onnx(model, [calibration])
        expected = _answers(model, images)
        before, after = (_sqnr_db(expected, _answers(each, images)) for each in (shared, own))
        print(f"{name:16s} {before:14.1f} {after:13.1f}", flush=True)


def _case(name: str) -> tuple[ir.Model, NDArray[np.float32], NDArray[np.float32]]:
    if name != "resnet8":
        network = build(name)
        return network.model, network.calibration, network.evaluation
    folder = Path(os.environ["EDGEQ_DATA"])
    source = load("cifar10-lossless", folder).with_normalization((0.0,) * 3, (1 / 255,) * 3)
    parts = [
        normalize(part.take(np.arange(count)).images, source)
        for part, count in ((source.train, CALIBRATION), (source.test, SAMPLES))
    ]
    model = fold_onnx(read_as_qdq(folder / "models" / "resnet8-float.onnx"))
    head = model.graph[-1]
    if head.op_type == "Softmax" and head.inputs[0] is not None:  # of its logits
        model.graph.outputs[0] = head.inputs[0]
        model.graph.remove(head, safe=True)
    return model, parts[0], parts[1]


@contextmanager
def _on_the_grid_they_read() -> Iterator[None]:
    """Calibrate means as any other pooling."""
    means = dict.fromkeys(("GlobalAveragePool", "ReduceMean"), "pool")
    with (
        patch.dict("edgeq.calibration.graph.KINDS", means),
        patch("edgeq.calibration.quantize.averages_as_layers"),
    ):
        yield


def _answers(model: ir.Model, images: NDArray[np.float32]) -> NDArray[np.float32]:
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        path = Path(folder) / "model.onnx"
        path.write_bytes(serialize(model))
        return stack.enter_context(TARGETS.load("ort-cpu-ref").open(path)).run(images)


def _sqnr_db(expected: NDArray[np.float32], found: NDArray[np.float32]) -> float:
    error = expected.astype(np.float64) - found
    return float(10 * np.log10(np.sum(expected.astype(np.float64) ** 2) / np.sum(error**2)))


if __name__ == "__main__":
    run(main)
