"""Do depthwise separable networks lose more than regular ones by quantisation after training?

    EDGEQ_DATA=DIR python -m benchmarks.published.separable --folder DIR
        [--networks regular-convnet,dws-convnet] [--epochs 20] [--data digits]

Yun and Wong, *Do all MobileNets quantize poorly?* (2021), Table 1, on a shorter schedule: their
optimiser, augmentation and decay of the learning rate, their two initialisations with and without
BatchNorm's gamma, and their quantisation: uint8 weights from the smallest to the largest of the
tensor with BatchNorm folded in, ranges of activations by a "min/max percentile of 5 %" over 800
training images. That is read in four ways: as TensorFlow's tool does it, with a record of minimum
and maximum for each image, or for each batch of 50, or one for all 800, of which it cuts nothing
off; or 5 % of all values lie beyond the range, at either end. Where ``--folder`` holds a run
already it goes on; what it finished is only printed.
"""

from __future__ import annotations

import argparse
import json
import statistics
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from benchmarks.support.command import run
from edgeq.calibration.config import CalibrationConfig
from edgeq.calibration.observers.percentile import Percentile
from edgeq.calibration.quantize import fold_onnx, quantize_onnx
from edgeq.data import batches, load, normalize
from edgeq.data.splitting import stratified
from edgeq.exporters.torch.lower import lower
from edgeq.files import write_json
from edgeq.formats.onnx_io import serialize
from edgeq.machine import fingerprint
from edgeq.metrics.accuracy import wilson
from edgeq.target import TARGETS
from edgeq.training.checkpoint import load_model
from edgeq.training.recipes.optimization import Optimizer, Schedule
from edgeq.training.recipes.recipe import Recipe
from edgeq.training.run.loop import train
from edgeq.training.run.run_folder import BEST, RUN

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import onnx_ir as ir
    from numpy.typing import NDArray

    from edgeq.calibration.observers import RangeObserver
    from edgeq.data import DataSource, Split

SETTINGS = ("glorot", "he-nogamma", "he", "glorot-nogamma")
# at the end the learning rate is what it is published to be after as many epochs
DECAY_EPOCHS = 100
CALIBRATION_IMAGES = 800
HELD_OUT_IMAGES = 1000  # enough to choose an epoch by, and cheap in each of them
TARGET = "ort-cpu"
READINGS: dict[str, str | Callable[[], RangeObserver]] = {
    "extremes of images": "minmax-percentile",
    "extremes of batches": "minmax-percentile:granularity=batch",
    "extremes of all": "minmax",
    "values": lambda: Percentile(95.0),
}
"""What 5 % are of."""


@dataclass(frozen=True, slots=True)
class Divergence:
    """How far a quantised network's softmax is from its original's, mean over the test images.

    Attributes:
        qmse: mean squared difference of probabilities.
        qce: cross-entropy of the quantised under the original, nats.
        qkl: the same less the original's entropy, nats.
    """

    qmse: float
    qce: float
    qkl: float


@dataclass(frozen=True, slots=True)
class Draw:
    """A network quantised with one draw of calibration images."""

    correct: int
    divergence: Divergence


@dataclass(frozen=True, slots=True)
class Row:
    """What was measured of one network.

    Attributes:
        model: its name in the zoo.
        epochs: that it was trained for.
        images: that it was trained on.
        seed: of its training.
        correct: right answers in FP32.
        total: test images.
        draws: one a draw of calibration images, by the reading of 5 %.
        precision: of each convolution, see :func:`average_precision`; depthwise ones first.
        depthwise: how many of these are depthwise.
    """

    model: str
    epochs: int
    images: int
    seed: int
    correct: int
    total: int
    draws: dict[str, tuple[Draw, ...]]
    precision: tuple[float, ...]
    depthwise: int

    def decreases(self, reading: str) -> list[float]:
        """Lost accuracy of each draw, in percent of the accuracy in FP32."""
        return [100 * (self.correct - draw.correct) / self.correct for draw in self.draws[reading]]


PUBLISHED: dict[str, tuple[float, str, str, str, str, str]] = {
    "mobilenetv1-he-nogamma": (78.63, "65.92 ± 5.76", "0.0266", "1.08", "0.76", "16.16 ± 7.32"),
    "mobilenetv1-glorot-nogamma": (78.73, "71.88 ± 1.79", "0.0186", "0.77", "0.45", "8.70 ± 2.28"),
    "mobilenetv1-he": (78.65, "66.11 ± 4.51", "0.0278", "1.17", "0.84", "15.95 ± 5.74"),
    "mobilenetv1-glorot": (78.46, "65.87 ± 2.36", "0.0273", "1.05", "0.72", "16.05 ± 3.01"),
    "dws-convnet-he-nogamma": (79.48, "65.89 ± 8.29", "0.0236", "1.03", "0.60", "17.10 ± 10.43"),
    "dws-convnet-glorot-nogamma": (78.63, "68.93 ± 2.90", "0.0187", "0.88", "0.48", "12.34 ± 3.69"),
    "dws-convnet-he": (80.16, "70.72 ± 2.91", "0.0187", "0.84", "0.45", "11.78 ± 3.63"),
    "dws-convnet-glorot": (78.17, "45.43 ± 20.53", "0.0592", "2.51", "2.04", "41.88 ± 26.26"),
    "regular-convnet-he-nogamma": (87.27, "78.29 ± 2.67", "0.0170", "0.66", "0.46", "10.29 ± 3.06"),
    "regular-convnet-glorot-nogamma": (
        86.63,
        "83.32 ± 0.75",
        "0.0076",
        "0.37",
        "0.18",
        "3.83 ± 0.87",
    ),
    "regular-convnet-he": (88.01, "80.26 ± 0.77", "0.0152", "0.55", "0.38", "8.80 ± 0.88"),
    "regular-convnet-glorot": (86.58, "81.15 ± 2.17", "0.0113", "0.46", "0.26", "6.27 ± 2.51"),
}
"""FP32 %, QUINT8 %, QMSE, QCE, QKL and decrease in percent.

Each with its standard deviation over five trials.
"""


def divergence(logits: NDArray[np.float32], quantized: NDArray[np.float32]) -> Divergence:
    """Compare the softmax of two networks' logits, both (samples, classes)."""
    log_p, log_q = _log_softmax(logits), _log_softmax(quantized)
    p = np.exp(log_p)
    cross_entropy = -(p * log_q).sum(axis=1).mean()
    return Divergence(
        qmse=float(np.square(p - np.exp(log_q)).mean()),
        qce=float(cross_entropy),
        qkl=float(cross_entropy + (p * log_p).sum(axis=1).mean()),
    )


def _log_softmax(logits: NDArray[np.float32]) -> NDArray[np.float64]:
    shifted = logits.astype(np.float64) - logits.max(axis=1, keepdims=True)
    return np.asarray(shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True)))


def average_precision(weight: NDArray[np.float32]) -> float:
    """The share of the tensor's range that a channel uses, mean over output channels.

    Yun and Wong, Eq. 2.

    Args:
        weight: (out, ...), BatchNorm folded in.
    """
    channels = weight.reshape(len(weight), -1)
    ranges = channels.max(axis=1) - channels.min(axis=1)
    return float(ranges.mean() / (weight.max() - weight.min()))


def main() -> None:
    """Train what is not trained yet, quantise, and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--networks", default="regular-convnet,dws-convnet")
    parser.add_argument("--settings", default=",".join(SETTINGS))
    parser.add_argument("--data", default="cifar10-jpeg", choices=("cifar10-jpeg", "digits"))
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--images", type=int, default=15000)
    parser.add_argument("--test-images", type=int, default=10000)
    parser.add_argument("--draws", type=int, default=5)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    given = load(arguments.data)
    source, test = _reduced(given, arguments.images), given.test
    test = test.take(np.arange(min(arguments.test_images, len(test))))
    rows = []
    for setting in arguments.settings.split(","):
        for network in arguments.networks.split(","):
            model = f"{network}-{setting}"
            recipe = published_recipe(model, arguments.epochs, arguments.seed, arguments.data)
            rows.append(_row(recipe, source, test, arguments.folder / model, arguments.draws))
            print(_markdown(rows, source.name), flush=True)
    write_json(arguments.folder / "separable.json", [asdict(row) for row in rows], overwrite=True)


def _reduced(source: DataSource, images: int) -> DataSource:
    """A fixed part of the training images, with equal shares of the classes.

    And of the others what choosing an epoch takes.
    """
    held_out = source.validation.take(np.arange(min(HELD_OUT_IMAGES, len(source.validation))))
    chosen = np.flatnonzero(stratified(source.train.class_labels, min(images, len(source.train))))
    return replace(source, train=source.train.take(chosen), validation=held_out, test=held_out)


def published_recipe(model: str, epochs: int, seed: int, data: str = "cifar10-jpeg") -> Recipe:
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
        precision="bf16" if model.startswith("regular") else "fp32",  # whichever is faster on a CPU
        optimizer=Optimizer("rmsprop", decay=0.9, epsilon=1.0),
        schedule=Schedule("exponential", factor=0.97 ** (DECAY_EPOCHS / epochs)),
        augmentation="none" if data == "digits" else "affine",
    )


def _row(recipe: Recipe, source: DataSource, test: Split, folder: Path, draws: int) -> Row:
    path = folder / "row.json"
    wanted = (recipe.epochs, recipe.seed, len(source.train), draws, len(test))
    if (
        path.exists()
        and (
            (row := _read(path)).epochs,
            row.seed,
            row.images,
            len(row.draws["values"]),
            row.total,
        )
        == wanted
    ):
        return row
    if not (folder / RUN).exists():
        train(recipe, source, folder, resume=True, threads=1)
    row = _measure(recipe, source, test, folder, draws)
    write_json(path, asdict(row), overwrite=True)
    return row


def _read(path: Path) -> Row:
    content = json.loads(path.read_text(encoding="utf-8"))
    draws = {
        reading: tuple(Draw(draw["correct"], Divergence(**draw["divergence"])) for draw in found)
        for reading, found in content.pop("draws").items()
    }
    return Row(**{**content, "precision": tuple(content["precision"])}, draws=draws)


def _measure(recipe: Recipe, source: DataSource, test: Split, folder: Path, draws: int) -> Row:
    model = lower(load_model(folder / BEST).module, source.shape)
    reference = _logits(model, folder / "float.onnx", test, source)
    found: dict[str, list[Draw]] = {reading: [] for reading in READINGS}
    for seed in range(draws):
        calibration = _calibration(source, seed)
        for reading, observer in READINGS.items():
            quantized = quantize_onnx(
                model, calibration, CalibrationConfig(observer, "affine"), data=source.name
            )
            answers = _logits(quantized, quint8_file(folder, reading, seed), test, source)
            found[reading].append(Draw(_correct(answers, test), divergence(reference, answers)))
    depthwise, others = _precisions(model)
    return Row(
        recipe.model,
        recipe.epochs,
        len(source.train),
        recipe.seed,
        _correct(reference, test),
        len(test),
        {reading: tuple(of_one) for reading, of_one in found.items()},
        (*depthwise, *others),
        len(depthwise),
    )


def quint8_file(folder: Path, reading: str, seed: int) -> Path:
    """The quantised network of one draw of calibration images."""
    return folder / f"quint8-{reading.replace(' ', '-')}-{seed}.onnx"


def _logits(model: ir.Model, path: Path, test: Split, source: DataSource) -> NDArray[np.float32]:
    path.write_bytes(serialize(model))
    with TARGETS.load(TARGET).open(path) as session:
        return np.concatenate([session.run(images) for images, _ in batches(test, source, 100)])


def _correct(logits: NDArray[np.float32], test: Split) -> int:
    return int((logits.argmax(axis=1) == test.class_labels).sum())


def _calibration(source: DataSource, seed: int) -> list[NDArray[np.float32]]:
    chosen = np.random.default_rng(seed).choice(
        len(source.train), CALIBRATION_IMAGES, replace=False
    )
    return [
        normalize(source.train.images[part], source)
        for part in np.array_split(chosen, CALIBRATION_IMAGES // 50)
    ]


def _precisions(model: ir.Model) -> tuple[list[float], list[float]]:
    """Of depthwise and of other convolutions, BatchNorm folded."""
    depthwise: list[float] = []
    others: list[float] = []
    for node in fold_onnx(model).graph:
        weight = (
            node.inputs[1].const_value
            if node.op_type == "Conv" and node.inputs[1] is not None
            else None
        )
        if weight is not None:
            groups = node.attributes.get_int("group", 1)
            (depthwise if groups > 1 else others).append(average_precision(weight.numpy()))
    return depthwise, others


def _markdown(rows: Sequence[Row], data: str) -> str:
    machine, first = fingerprint(), rows[0]
    about = (
        f"{data}, {first.images} training images, {first.epochs} epochs, seed "
        f"{first.seed}, {first.total} test images; {TARGET}, "
        f"onnxruntime {machine.runtimes['onnxruntime']}, {machine.cpu}; ± standard "
        f"deviation over {len(first.draws['values'])} draws of "
        f"{CALIBRATION_IMAGES} calibration images; published figures in parentheses"
    )
    head = (
        "| network | 5 % of the | FP32 % | QUINT8 % | decrease % | QMSE | QCE | QKL | average "
        "precision, depthwise / others |"
    )
    return "\n".join(
        [
            "",
            about,
            "",
            head,
            "|---|---|---|---|---|---|---|---|---|",
            *(_line(row, reading) for row in rows for reading in READINGS),
        ]
    )


def _line(row: Row, reading: str) -> str:
    fp32, quint8, qmse, qce, qkl, decrease = PUBLISHED[row.model]
    low, high = wilson(row.correct, row.total)
    precision = [
        f"{statistics.mean(part):.2f}" if part else "–"
        for part in (row.precision[: row.depthwise], row.precision[row.depthwise :])
    ]
    divergences = [draw.divergence for draw in row.draws[reading]]
    cells = [
        row.model,
        reading,
        f"{100 * row.correct / row.total:.2f}, {100 * low:.1f} to {100 * high:.1f} ({fp32})",
        (
            f"{_spread([100 * draw.correct / row.total for draw in row.draws[reading]], '.2f')} "
            f"({quint8})"
        ),
        f"{_spread(row.decreases(reading), '.2f')} ({decrease})",
        f"{_spread([each.qmse for each in divergences], '.5f')} ({qmse})",
        f"{_spread([each.qce for each in divergences], '.3f')} ({qce})",
        f"{_spread([each.qkl for each in divergences], '.4f')} ({qkl})",
        " / ".join(precision),
    ]
    return f"| {' | '.join(cells)} |"


def _spread(values: Sequence[float], form: str) -> str:
    return (
        f"{statistics.mean(values):{form}} ± "
        f"{statistics.stdev(values) if len(values) > 1 else 0.0:{form}}"
    )


if __name__ == "__main__":
    run(main)
