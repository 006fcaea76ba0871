"""What 8-bit integers cost a detector: mAP in float, after calibration, and after QAT, by target.

    python -m benchmarks.detection [-o runs/detection] [--epochs 30] [--qat-epochs 6]

Trains ``yolo-tiny`` on ``digits-detection``, calibrates it (PTQ), goes on from it at W8A8 (QAT),
writes both as ONNX and TFLite, and measures each on the test split. A run that was cut off goes on
where it stopped.
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.support.command import run
from edgeq.calibration.config import CalibrationConfig
from edgeq.data import load
from edgeq.deploy.evaluation.chain import Pair
from edgeq.deploy.evaluation.compare import compare
from edgeq.deploy.pipeline.calibrate import Job, calibrate
from edgeq.deploy.pipeline.export import export
from edgeq.exporter import ExportOptions
from edgeq.training.recipes import builtin_recipes
from edgeq.training.recipes.recipe import Recipe
from edgeq.training.recipes.scheme import Scheme
from edgeq.training.run.loop import BEST, train

if TYPE_CHECKING:
    from edgeq.data import DataSource
    from edgeq.results import Stage

TARGETS = {"onnx": ("ort-cpu-ref", "ort-cpu", "emulator"), "tflite": ("tflite", "tflm")}
QAT_LR = 1e-4


def main() -> None:
    """Train, calibrate, measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("-o", "--output", type=Path, default=Path("runs/detection"))
    parser.add_argument("--epochs", type=int, default=30)
    parser.add_argument("--qat-epochs", type=int, default=6)
    arguments = parser.parse_args()
    source, folder = load("digits-detection"), arguments.output
    recipe = Recipe.from_toml(builtin_recipes.find("digits-tasks"))
    real = folder / "float"
    train(replace(recipe, epochs=arguments.epochs), source, real, resume=True, threads=1)
    ptq = folder / "ptq.onnx"
    calibrate(Job(real, source, CalibrationConfig()), ptq, overwrite=True)
    qat = replace(
        recipe,
        scheme=Scheme(8, 8),
        epochs=arguments.qat_epochs,
        lr=QAT_LR,
        init_from=str(real / BEST),
    )
    train(qat, source, folder / "qat", resume=True, threads=1)
    print("| network | target | mAP50-95 % | of float % | mAP50 % | threshold |")
    print("|---|---|---|---|---|---|")
    (reference,) = _measured([Pair(real / BEST, "torch-fp32")], source)
    _print("float", reference, reference)
    for name, path in (("PTQ", ptq), ("QAT", folder / "qat")):
        for stage in _measured(_pairs(name, path, folder), source):
            _print(name, stage, reference)


def _pairs(name: str, path: Path, folder: Path) -> list[Pair]:
    """The network in each format, on each target of it."""
    formats = list(TARGETS)
    files = export(path, formats, folder / "files", ExportOptions(), stem=name, overwrite=True)
    return [Pair(file.path, target) for file in files for target in TARGETS[file.format]]


def _measured(pairs: list[Pair], source: DataSource) -> tuple[Stage, ...]:
    found = compare(pairs, source, tensors=False).comparison
    for failure in found.failures:
        print(f"{failure.name}: {failure.what}")
    return found.stages


def _print(name: str, stage: Stage, reference: Stage) -> None:
    score, whole = stage.score, reference.score
    if score is None or whole is None:
        raise TypeError("a detector was judged by no score")
    kept = 100 * score.value / whole.value
    threshold = "–" if score.threshold is None else f"{score.threshold:.3f}"
    print(
        f"| {name} | {stage.target} | {100 * score.value:.2f} | {kept:.2f} | "
        f"{100 * score.further['mAP50']:.2f} | {threshold} |"
    )


if __name__ == "__main__":
    run(main)
