"""Do depthwise separable networks lose more than regular ones by quantisation after training?

Yun and Wong, *Do all MobileNets quantize poorly?* (2021), Table 1 and Figures 1 to 7, on a shorter
schedule: their optimiser, augmentation and decay of the learning rate, and their quantisation:
uint8 weights from the smallest to the largest of the tensor with BatchNorm folded in, ranges of
activations by a "min/max percentile of 5 %" over 800 training images. That is read in four ways: as
TensorFlow's tool does it, with a record of minimum and maximum for each image, or for each batch of
50, or one for all 800, of which it cuts nothing off; or 5 % of all values lie beyond the range, at
either end.
"""

from __future__ import annotations

import statistics
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch

from edgeq.calibration.config import CalibrationConfig
from edgeq.calibration.observers.percentile import Percentile
from edgeq.calibration.quantize import quantize_onnx
from edgeq.data import batches, load, normalize
from edgeq.deploy.sweep.experiments import quint8_layers
from edgeq.deploy.sweep.experiments.parts import forget, percent, reduced
from edgeq.exporters.torch.lower import lower
from edgeq.formats.onnx_io import serialize
from edgeq.target import TARGETS
from edgeq.training.checkpoint import load_model
from edgeq.training.recipes.optimization import Optimizer, Schedule
from edgeq.training.recipes.recipe import Recipe
from edgeq.training.run.loop import train
from edgeq.training.run.run_folder import BEST

if TYPE_CHECKING:
    from collections.abc import Callable

    import onnx_ir as ir
    from numpy.typing import NDArray

    from edgeq.calibration.observers import RangeObserver
    from edgeq.data import DataSource
    from edgeq.data.source import Split

DECAY_EPOCHS = 100
"""At the end the learning rate is what it is published to be after as many epochs."""
CALIBRATION_IMAGES = 800
HELD_OUT = 1000  # enough to choose an epoch by, and cheap in each of them
TARGET = "ort-cpu"
RECORDS: dict[str, str | Callable[[], RangeObserver]] = {
    "images": "minmax-percentile",
    "batches": "minmax-percentile:granularity=batch",
    "all": "minmax",
    "values": lambda: Percentile(95.0),
}
"""What 5 % are of."""


def published_recipe(model: str, data: str, epochs: int, seed: int) -> Recipe:
    """The published one, with half as much decay of the learning rate, in fewer epochs.

    Digits are not augmented: turned or mirrored ones are others.
    """
    return Recipe(
        model,
        data,
        epochs=epochs,
        lr=0.045,
        momentum=0.9,
        weight_decay=0.0,
        seed=seed,
        optimizer=Optimizer("rmsprop", decay=0.9, epsilon=1.0),
        schedule=Schedule("exponential", factor=0.97 ** (DECAY_EPOCHS / epochs)),
        augmentation="none" if data == "digits" else "affine",
    )


def measure(
    network: str,
    setting: str,
    data: str,
    seed: int,
    epochs: int = 200,
    images: int = 0,
    test_images: int = 0,
    draws: int = 5,
) -> dict[str, float]:
    """Train a network, quantise it with several draws of calibration images, and measure.

    Args:
        network: ``mobilenetv1``, ``dws-convnet`` or ``regular-convnet``.
        setting: the initialisation, ``he`` or ``glorot``, with ``-nogamma`` where BatchNorm has no
            scales.
        data: a data set of images.
        seed: of training.
        epochs: of training.
        images: training images; 0 for all.
        test_images: test images; 0 for all.
        draws: of calibration images.

    Returns:
        For each record the mean over draws of the accuracy in %, its standard deviation over them,
        the decrease in percent of the accuracy in FP32, QMSE, QCE and QKL (nats); for each layer
        what :mod:`edgeq.deploy.sweep.experiments.quint8_layers` measures.
    """
    torch.set_num_threads(1)
    source = reduced(load(data), images, HELD_OUT, test_images)
    run = Path("run")
    recipe = published_recipe(f"{network}-{setting}", data, epochs, seed)
    train(recipe, source, run, overwrite=True, threads=1)
    trained = load_model(run / BEST).module
    model = lower(trained, source.shape)
    reference = _logits(model, run / "float.onnx", source.test, source)
    full = _right(reference, source.test)
    found: dict[str, float] = {"fp32": full}
    for record, observer in RECORDS.items():
        answers = []
        for draw in range(draws):
            config = CalibrationConfig(observer, "affine")
            made = quantize_onnx(model, _calibration(source, draw), config, data=source.name)
            answers.append(_logits(made, run / f"{record}-{draw}.onnx", source.test, source))
        found |= _over_draws(record, reference, answers, source.test)
    given = normalize(source.test.images[: quint8_layers.IMAGES], source)
    found |= quint8_layers.by_layer(trained, model, run / "values-0.onnx", given)
    forget(run)
    return found


def _over_draws(
    record: str,
    reference: NDArray[np.float32],
    answers: list[NDArray[np.float32]],
    test: Split,
) -> dict[str, float]:
    right = [_right(each, test) for each in answers]
    full = _right(reference, test)
    diverging = [divergence(reference, each) for each in answers]
    found = {
        f"{name}_{record}": statistics.fmean(each[name] for each in diverging)
        for name in diverging[0]
    }
    return {
        f"quint8_{record}": statistics.fmean(right),
        f"draws_std_{record}": statistics.stdev(right) if len(right) > 1 else 0.0,
        f"decrease_{record}": 100 * (full - statistics.fmean(right)) / full,
        **found,
    }


def divergence(logits: NDArray[np.float32], quantized: NDArray[np.float32]) -> dict[str, float]:
    """Compare the softmax of two networks' logits, both (samples, classes).

    The mean squared difference of probabilities, the cross-entropy of the quantised under the
    original, and the same less the original's entropy, in nats.
    """
    log_p, log_q = _log_softmax(logits), _log_softmax(quantized)
    p = np.exp(log_p)
    cross_entropy = float(-(p * log_q).sum(axis=1).mean())
    return {
        "qmse": float(np.square(p - np.exp(log_q)).mean()),
        "qce": cross_entropy,
        "qkl": cross_entropy + float((p * log_p).sum(axis=1).mean()),
    }


def _log_softmax(logits: NDArray[np.float32]) -> NDArray[np.float64]:
    shifted = logits.astype(np.float64) - logits.max(axis=1, keepdims=True)
    return np.asarray(shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True)))


def _logits(model: ir.Model, path: Path, test: Split, source: DataSource) -> NDArray[np.float32]:
    path.write_bytes(serialize(model))
    with TARGETS.load(TARGET).open(path) as session:
        return np.concatenate([session.run(images) for images, _ in batches(test, source, 100)])


def _right(logits: NDArray[np.float32], test: Split) -> float:
    return percent(int((logits.argmax(axis=1) == test.class_labels).sum()), len(test))


def _calibration(source: DataSource, draw: int) -> list[NDArray[np.float32]]:
    count = min(CALIBRATION_IMAGES, len(source.train))
    chosen = np.random.default_rng(draw).choice(len(source.train), count, replace=False)
    return [
        normalize(source.train.images[part], source)
        for part in np.array_split(chosen, max(count // 50, 1))
    ]
