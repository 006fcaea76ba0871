"""A fully connected network with weights, or weights and activations, of one bit.

Courbariaux, Bengio and David, *BinaryConnect* (2015), Sec. 3.1, with their training: Adam, squared
hinge loss, exponential decay of the learning rate, batches of 100; XNOR-Net's weights and
activations (Rastegari et al., 2016) on the same network, first and last layer left at 8 bits. In
fewer epochs than the published 250 the learning rate decays as far. The epoch is chosen on
validation images.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch

from edgeq.data import batches, load
from edgeq.deploy.pipeline.export import export
from edgeq.deploy.sweep.experiments.parts import forget, percent, reduced
from edgeq.errors import UnknownName
from edgeq.exporter import ExportOptions
from edgeq.models.macs import count_parameters
from edgeq.qdq.qoperator.convert import read_as_qdq
from edgeq.qdq.reader import read_qdq
from edgeq.target import TARGETS
from edgeq.training.checkpoint import load_model
from edgeq.training.recipes.optimization import Optimizer, Schedule
from edgeq.training.recipes.recipe import Recipe
from edgeq.training.recipes.scheme import Scheme
from edgeq.training.run.loop import train
from edgeq.training.run.run_folder import BEST

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from edgeq.data import DataSource
    from edgeq.data.source import Split

FIRST_LR, LAST_LR = 1e-3, 3e-6
TARGET_FILES = {"ort-cpu-ref": ("onnx", 10000), "tflite-ref": ("tflite", 1000)}
"""Format, and how many test images; the reference kernels of TFLite are slow."""


@dataclass(frozen=True, slots=True)
class Variant:
    """A way to quantise the network.

    Attributes:
        scheme: None for float.
        model: its name in the zoo.
    """

    scheme: Scheme | None
    model: str = "mlp-3x1024"


VARIANTS = {
    "float": Variant(None),
    "binary-connect": Variant(Scheme(1, 8, weights="binary-connect", first_last="inner")),
    "binary-connect-stochastic": Variant(
        Scheme(1, 8, weights="binary-connect-stochastic", first_last="inner")
    ),
    "xnor-weights": Variant(Scheme(1, 8, weights="xnor", per_channel=True)),
    "xnor": Variant(
        Scheme(1, 1, weights="xnor", per_channel=True, activations="xnor"),
        model="mlp-3x1024-signed",
    ),
}


def published_recipe(variant: Variant, data: str, epochs: int, seed: int) -> Recipe:
    """BinaryConnect's, with as much decay of the learning rate in fewer epochs."""
    return Recipe(
        variant.model,
        data,
        variant.scheme,
        epochs=epochs,
        batch_size=100,
        lr=FIRST_LR,
        weight_decay=0.0,
        anneal_from=2,
        seed=seed,
        optimizer=Optimizer("adam"),
        schedule=Schedule("exponential", factor=(LAST_LR / FIRST_LR) ** (1 / epochs)),
        loss="squared-hinge",
    )


def measure(
    variant: str, data: str, seed: int, epochs: int = 250, images: int = 0
) -> dict[str, float]:
    """Train one variant, export it, and compare its files with torch.

    Args:
        variant: a name of :data:`VARIANTS`.
        data: a data set of images.
        seed: of training.
        epochs: of training.
        images: training images; 0 for all.

    Returns:
        Errors in %; outputs of files that differ from torch's, and the greatest difference in LSB;
        sizes of files in kB.
    """
    if variant not in VARIANTS:
        raise UnknownName("variant", variant, VARIANTS)
    source = reduced(load(data), images, 0, 0)
    run, quantized = Path("run"), VARIANTS[variant].scheme is not None
    recipe = published_recipe(VARIANTS[variant], data, epochs, seed)
    result = train(recipe, replace(source, augmentation="none"), run, threads=1, overwrite=True)
    outputs = _torch_outputs(run / BEST, source)
    found = {
        "test_error": _wrong(outputs, source.test),
        "validation_error": 100 - 100 * result.validation,
        "epoch": result.best_epoch + 1,
        "params_m": count_parameters(load_model(run / BEST).module) / 1e6,
    }
    if quantized:
        real = _torch_outputs(run / BEST, source, rounding=False)
        found["real_weights_error"] = _wrong(real, source.test)
        found |= _files(run, source, outputs)
    forget(run)
    return found


def _files(run: Path, source: DataSource, outputs: NDArray[np.float32]) -> dict[str, float]:
    written = {
        file.format: file
        for file in export(run / BEST, ["onnx", "tflite"], run, ExportOptions(), overwrite=True)
    }
    step = float(read_qdq(read_as_qdq(written["onnx"].path)).outputs[0].tensor.scale)
    found = {f"{kind}_kb": file.size_bytes / 1000 for kind, file in written.items()}
    for target, (kind, images) in TARGET_FILES.items():
        count = min(images, len(source.test))
        answers = _outputs(target, written[kind].path, source, source.test.take(np.arange(count)))
        found |= {
            f"{name}, {target}": each
            for name, each in agreement(outputs[:count], answers, step).items()
        }
    return found


def agreement(
    reference: NDArray[np.float32], answers: NDArray[np.float32], step: float
) -> dict[str, float]:
    """Compare outputs, both (samples, classes), that lie on one grid of a step."""
    distance = np.rint(np.abs(reference.astype(np.float64) - answers) / step).astype(np.int64)
    return {
        "flips": int((reference.argmax(axis=1) != answers.argmax(axis=1)).sum()),
        "outputs that differ": int(np.count_nonzero(distance)),
        "most LSB": int(distance.max(initial=0)),
    }


def _outputs(target: str, path: Path, source: DataSource, split: Split) -> NDArray[np.float32]:
    with TARGETS.load(target).open(path) as session:
        return np.concatenate([session.run(images) for images, _ in batches(split, source, 100)])


def _torch_outputs(path: Path, source: DataSource, *, rounding: bool = True) -> NDArray[np.float32]:
    """In large batches: evaluation makes its binary weights anew for each of them."""
    module = load_model(path, rounding=rounding).module
    with torch.inference_mode():
        return np.concatenate(
            [
                module(torch.from_numpy(images)).numpy()
                for images, _ in batches(source.test, source, 1000)
            ]
        )


def _wrong(outputs: NDArray[np.float32], split: Split) -> float:
    return percent(int((outputs.argmax(axis=1) != split.class_labels).sum()), len(split))
