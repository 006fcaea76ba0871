"""How fast the emulator runs ResNet-56 at 8 bits.

Beside it: torch in FP32, the runtimes that it is bit-exact with, and onnx's own evaluator.

    python -m benchmarks.emulator [--model resnet56] [--batch 256] [--rounds 5] [--threads 1]

All of them in one run, one after the other in each round; an image's time is the median over the
rounds. Runtimes that take one image at a time are given a few. The weights are random: throughput
does not depend on them.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import onnx
import torch
from onnx.reference import ReferenceEvaluator

from benchmarks.support.command import run
from edgeq.calibration.quantize import quantize_onnx
from edgeq.deploy.pipeline.export import export
from edgeq.exporter import ExportOptions
from edgeq.exporters.torch.lower import lower
from edgeq.formats.onnx_io import serialize
from edgeq.machine import fingerprint
from edgeq.models import zoo
from edgeq.target import TARGETS

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

SHAPE = (3, 32, 32)
FEW = 4  # images for what takes them one at a time


@dataclass(frozen=True, slots=True)
class Contender:
    """Something that computes a batch."""

    name: str
    images: int
    compute: Callable[[], object]


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="resnet56")
    parser.add_argument("--batch", type=int, default=256)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=1)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    torch.manual_seed(0)
    batch = np.random.default_rng(0).standard_normal((arguments.batch, *SHAPE), np.float32)
    with tempfile.TemporaryDirectory() as folder:
        tflite, qdq = _files(arguments.model, Path(folder))
        contenders = [*_contenders(arguments.model, tflite, qdq, batch, arguments.threads)]
        _measure(contenders, 1, arguments.threads)  # to warm up
        times = _measure(contenders, arguments.rounds, arguments.threads)
        evaluator = _evaluator(qdq, batch[:1])
    print(
        f"{arguments.model}, batch {arguments.batch}, {arguments.threads} thread(s), "
        f"{arguments.rounds} rounds; {fingerprint().cpu}"
    )
    base, reference = times["torch FP32"], times["tflite-ref"]
    for name, image_ms in times.items():
        print(
            f"{name:28s} {image_ms:8.2f} ms an image   {image_ms / base:6.2f} x torch   "
            f"{reference / image_ms:6.2f} x as fast as tflite-ref"
        )
    print(f"{'onnx ReferenceEvaluator':28s} {evaluator}")


def _files(name: str, folder: Path) -> tuple[Path, Path]:
    images = np.random.default_rng(0).standard_normal((32, *SHAPE), np.float32)
    model = quantize_onnx(lower(zoo.build(name, classes=10), SHAPE), [images])
    qdq = folder / "model.onnx"
    qdq.write_bytes(serialize(model))
    (tflite,) = export(qdq, ["tflite"], folder, ExportOptions())
    return tflite.path, qdq


def _contenders(
    name: str, tflite: Path, qdq: Path, batch: NDArray[np.float32], threads: int
) -> list[Contender]:
    network, images = zoo.build(name, classes=10).eval(), torch.from_numpy(batch)

    def in_torch() -> object:
        with torch.inference_mode():
            return network(images)

    found = [Contender("torch FP32", len(batch), in_torch)]
    for target, path, count in (
        ("emulator:tflite-reference", tflite, len(batch)),
        ("emulator:onnx-reference", qdq, len(batch)),
        ("tflite-ref", tflite, FEW),
        ("ort-cpu-ref", qdq, FEW),
    ):
        session = TARGETS.load(target).open(path, threads=threads)
        found.append(Contender(target, count, partial(session.run, batch[:count])))
    return found


def _measure(contenders: list[Contender], rounds: int, threads: int) -> dict[str, float]:
    """Milliseconds an image by name.

    Of one thread its own time, which neighbours on the machine do not lengthen.
    """
    clock = time.process_time_ns if threads == 1 else time.perf_counter_ns
    seen: dict[str, list[float]] = {contender.name: [] for contender in contenders}
    for _ in range(rounds):
        for contender in contenders:
            start = clock()
            contender.compute()
            seen[contender.name].append((clock() - start) / 1e6 / contender.images)
    return {name: statistics.median(values) for name, values in seen.items()}


def _evaluator(qdq: Path, image: NDArray[np.float32]) -> str:
    """One image by the evaluator that comes with onnx, where it runs."""
    try:
        session = ReferenceEvaluator(onnx.load(qdq))
        start = time.process_time()
        session.run(None, {str(session.input_names[0]): image})
    except Exception as error:  # noqa: BLE001  # whatever it does not support
        return f"does not run it: {type(error).__name__}"
    return f"{(time.process_time() - start) * 1e3:8.0f} ms for one image, once"


if __name__ == "__main__":
    run(main)
