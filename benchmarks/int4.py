"""Weights of 4 bits stored as int4 against the same weights stored as int8.

Bytes, and latency on each runtime.

    python -m benchmarks.int4 [--seconds 3] [--model resnet20 --model resnet56]

One thread, batch 1; for one network all files on all runtimes take turns in one run. The weights
are random, calibrated on random images to 4W/8A with 8 bits in the first and last layer: neither
size nor latency depends on them. The answers of the two files are compared on each runtime before
anything is timed.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch

from benchmarks.support.command import run
from edgeq.calibration.config import CalibrationConfig
from edgeq.calibration.quantize import quantize_onnx
from edgeq.deploy.evaluation.chain import Pair
from edgeq.deploy.evaluation.profile import profile
from edgeq.deploy.pipeline.export import export
from edgeq.exporter import ExportOptions
from edgeq.exporters.torch.lower import lower
from edgeq.formats.onnx_io import serialize
from edgeq.machine import fingerprint
from edgeq.models import zoo
from edgeq.qdq.qoperator.convert import read_as_qdq
from edgeq.qdq.reader import read_qdq
from edgeq.target import TARGETS
from edgeq.timing import ratio

if TYPE_CHECKING:
    from edgeq.exporter import WeightStorage
    from edgeq.results import Profile

SHAPE = (3, 32, 32)
RUNTIMES = {
    "ort-cpu": "onnx",
    "ort-cpu-ref": "onnx",
    "tflite": "tflite",
    "tflite-builtin": "tflite",
    "tflite-ref": "tflite",
}
STORAGES: tuple[WeightStorage, ...] = ("int8", "int4")


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", action="append")
    parser.add_argument("--seconds", type=float, default=3.0)
    arguments = parser.parse_args()
    print(f"one thread, batch 1, on {fingerprint().cpu}\n")
    print(
        "| network | runtime | int8-stored, kB | int4-stored, kB | int8, ms | int4, ms | "
        "int4 / int8 (95 %) | answers that differ |"
    )
    print("|---|---|---|---|---|---|---|---|")
    for model in arguments.model or ("resnet20", "resnet56"):
        with tempfile.TemporaryDirectory() as folder:
            _measure(model, Path(folder), arguments.seconds)


def _measure(model: str, folder: Path, seconds: float) -> None:
    files = _files(model, folder)
    pairs = [
        Pair(files[kind, storage], target)
        for target, kind in RUNTIMES.items()
        for storage in STORAGES
    ]
    profiles = profile(pairs, seconds=seconds)
    step = float(read_qdq(read_as_qdq(files["onnx", "int8"])).outputs[0].tensor.scale)
    for i, (target, kind) in enumerate(RUNTIMES.items()):
        differing = _differing(files[kind, "int8"], files[kind, "int4"], target, step)
        print(_row(model, target, profiles[2 * i], profiles[2 * i + 1], differing))


def _files(model: str, folder: Path) -> dict[tuple[str, str], Path]:
    """One network in both formats with either storage."""
    torch.manual_seed(0)
    images = np.random.default_rng(0).standard_normal((32, *SHAPE), np.float32)
    source = folder / "source.onnx"
    source.write_bytes(
        serialize(
            quantize_onnx(
                lower(zoo.build(model, classes=10), SHAPE),
                [images],
                CalibrationConfig(weight_bits=4, methods=()),
            )
        )
    )
    files = {}
    for storage in STORAGES:
        written = export(
            source,
            ["onnx", "tflite"],
            folder,
            ExportOptions(weight_storage=storage),
            stem=f"{model}-{storage}",
        )
        files |= {(each.format, storage): each.path for each in written}
    return files


def _differing(one: Path, other: Path, target: str, step: float) -> str:
    """How many outputs of the two files differ on random images, and by how many LSB at most."""
    images = np.random.default_rng(1).standard_normal((16, *SHAPE), np.float32)
    answers = []
    for path in (one, other):
        with TARGETS.load(target).open(path) as session:
            answers.append(session.run(images))
    distance = np.rint(np.abs(answers[0] - answers[1]) / step).astype(int)
    return f"{np.count_nonzero(distance)} of {distance.size}" + (
        f", by {distance.max()} LSB" if distance.any() else ""
    )


def _row(model: str, target: str, eight: Profile, four: Profile, differing: str) -> str:
    times = ratio(four.latency, eight.latency)
    doubt = (
        ""
        if eight.latency.trustworthy and four.latency.trustworthy
        else f" (noisy: {eight.latency.why or four.latency.why})"
    )
    sizes = [f"{(profile.size_bytes or 0) / 1000:.1f}" for profile in (eight, four)]
    latencies = [f"{profile.latency.p50_ms:.3f}" for profile in (eight, four)]
    cells = [
        model,
        target,
        *sizes,
        *latencies,
        f"{times.value:.2f} ({times.low:.2f} to {times.high:.2f}){doubt}",
        differing,
    ]
    return f"| {' | '.join(cells)} |"


if __name__ == "__main__":
    run(main)
