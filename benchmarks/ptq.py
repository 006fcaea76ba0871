"""Accuracy of every method of post-training quantisation at every width, network by network.

``EDGEQ_DATA=... python -m benchmarks.ptq resnet20-a --bits 8/8 4/8 4/4`` calibrates on CIFAR-10's
training images and answers all test images of ``cifar10-lossless`` as ONNX defines the file,
without any optimisation. Beside the accuracy stand the seconds that the calibration took and the
answers that are another one than the float network's.
"""

from __future__ import annotations

import argparse
import os
import time
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from benchmarks.support.networks import build
from edgeq.calibration.config import CalibrationConfig
from edgeq.calibration.observe import session_of
from edgeq.calibration.quantize import quantize_onnx
from edgeq.data import load, normalize
from edgeq.formats.onnx_io import read
from edgeq.models.pretrained import NORMALIZATION

if TYPE_CHECKING:
    from collections.abc import Sequence

    import onnx_ir as ir
    from numpy.typing import NDArray

RECIPES: dict[str, dict[str, object]] = {
    "min-max": {},
    "percentile": {"observer": "percentile"},
    "mse": {"observer": "mse", "weight_method": "mse"},
    "entropy": {"observer": "entropy"},
    "equalize": {"methods": ("equalize",)},
    "bias-correction": {"methods": ("bias-correction",)},
    "gptq": {"observer": "mse", "weight_method": "mse", "methods": ("gptq", "bias-correction")},
    "adaround": {"observer": "mse", "weight_method": "mse", "methods": ("adaround",)},
}
"""What each row asks of ``edgeq calibrate``."""
CALIBRATION = 500


def images(name: str) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.int64]]:
    """Calibration images, test images and their labels, as a network takes them."""
    source = load("cifar10-lossless", Path(os.environ["EDGEQ_DATA"]))
    source = source.with_normalization(
        *(((0.0,) * 3, (1 / 255,) * 3) if name == "resnet8" else NORMALIZATION)
    )
    few = np.linspace(0, len(source.train) - 1, CALIBRATION).astype(np.int64)
    return (
        normalize(source.train.images[few], source),
        normalize(source.test.images, source),
        np.asarray(source.test.labels),
    )


def float_model(name: str) -> ir.Model:
    """The float network as ONNX."""
    if name == "resnet8":
        return read(Path(os.environ["EDGEQ_DATA"]) / "models" / "resnet8-float.onnx")
    return build(name).model


def answers(model: ir.Model, test: NDArray[np.float32]) -> NDArray[np.int64]:
    """The class of each image, each operator computed as ONNX says."""
    session = session_of(model, exact=True)
    entry = session.get_inputs()[0]
    size = entry.shape[0] if isinstance(entry.shape[0], int) else 100
    parts = [
        np.asarray(session.run(None, {entry.name: np.ascontiguousarray(test[i : i + size])})[0])
        for i in range(0, len(test), size)
    ]
    return np.concatenate(parts).reshape(len(test), -1).argmax(axis=1)


def main(arguments: Sequence[str] | None = None) -> None:
    """Print one table for each network."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("networks", nargs="+", help="resnet20-a, resnet56-a or resnet8")
    parser.add_argument("--bits", nargs="+", default=["8/8", "4/8", "4/4"], metavar="W/A")
    parser.add_argument("--rows", nargs="+", default=list(RECIPES), choices=list(RECIPES))
    asked = parser.parse_args(arguments)
    for name in asked.networks:
        calibration, test, labels = images(name)
        model = float_model(name)
        truth = answers(model, test)
        print(f"\n{name}: float {100 * (truth == labels).mean():.1f} %")
        print(f"{'':16}" + "".join(f"{bits:>24}" for bits in asked.bits))
        for row in asked.rows:
            cells = []
            for bits in asked.bits:
                weight_bits, act_bits = map(int, bits.split("/"))
                config = CalibrationConfig(
                    weight_bits=weight_bits,
                    act_bits=act_bits,
                    **RECIPES[row],  # type: ignore[arg-type]
                )
                began = time.perf_counter()
                made = quantize_onnx(model, np.array_split(calibration, 16), config)
                seconds = time.perf_counter() - began
                found = answers(made, test)
                right, changed = 100 * (found == labels).mean(), int((found != truth).sum())
                cells.append(f"{right:6.1f} % {changed:4d} {seconds:7.1f} s")
            print(f"{row:16}" + "".join(f"{cell:>24}" for cell in cells), flush=True)


if __name__ == "__main__":
    main()
