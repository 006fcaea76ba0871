"""Tables 1 and 2 of Ben-Yair, Eliasof and Treister again: residual networks.

Quantized convolutional neural networks through the lens of partial differential equations.

    EDGEQ_DATA=DIR python -m benchmarks.published.tables_1_2 --folder OUT
        [--data cifar10-jpeg] [--networks resnet20,stable-resnet20]

Each network in FP32, 4W/4A and 4W/8A, all three from a random start: SGD, a cosine, widths annealed
from 16 bits, first and last layer in float as published, in bfloat16 and, where quantised, through
torch.compile, on one thread. Two commands with a network each and one folder keep two cores busy.
What is finished is kept, and a run that was cut off goes on; ``--print-only`` trains nothing. The
published networks have 56 layers and 200 epochs, which
``--networks resnet56,stable-resnet56 --epochs 200`` repeats.
"""

from __future__ import annotations

import argparse
import json
import statistics
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch

from benchmarks.support.command import run
from edgeq.data import batches, load
from edgeq.deploy.pipeline.export import export
from edgeq.exporter import ExportOptions
from edgeq.files import write_json
from edgeq.machine import fingerprint
from edgeq.metrics.accuracy import top1, wilson
from edgeq.models.macs import count_parameters
from edgeq.models.zoo import build
from edgeq.target import TARGETS
from edgeq.training.activation_error import activation_error
from edgeq.training.checkpoint import load_model
from edgeq.training.recipes.recipe import Recipe
from edgeq.training.recipes.scheme import Scheme
from edgeq.training.run.loop import train
from edgeq.training.run.run_folder import BEST

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

    from edgeq.data import DataSource

SCHEMES = {
    "FP32": None,
    "4W/4A": Scheme(4, 4, placement="paper"),
    "4W/8A": Scheme(4, 8, placement="paper"),
}
TARGET = "ort-cpu-ref"


@dataclass(frozen=True, slots=True)
class Published:
    """A line of the two tables.

    Accuracies in %, what the paper calls MSE, and the accuracy without rounding beside it.
    """

    table: str
    accuracy: dict[str, float]
    mse: float
    unrounded: float


def _published(
    table: str, full: float, eight: float, four: float, mse: float, unrounded: float
) -> Published:
    return Published(table, {"FP32": full, "4W/8A": eight, "4W/4A": four}, mse, unrounded)


PAPER = {
    ("cifar10", "resnet56"): _published("ResNet-56, CIFAR-10", 93.8, 93.0, 92.6, 0.076, 92.9),
    ("cifar10", "stable-resnet56"): _published(
        "stable ResNet-56, CIFAR-10", 92.1, 92.3, 91.6, 0.024, 92.0
    ),
    ("cifar10", "mobilenetv2"): _published("MobileNetV2, CIFAR-10", 94.0, 92.9, 92.4, 0.067, 92.5),
    ("cifar10", "stable-mobilenetv2"): _published(
        "stable MobileNetV2, CIFAR-10", 93.1, 92.2, 91.6, 0.034, 91.7
    ),
    ("cifar100", "resnet56"): _published("ResNet-56, CIFAR-100", 72.0, 69.0, 69.6, 0.14, 70.0),
    ("cifar100", "stable-resnet56"): _published(
        "stable ResNet-56, CIFAR-100", 68.4, 66.7, 66.1, 0.031, 67.3
    ),
    ("cifar100", "mobilenetv2"): _published(
        "MobileNetV2, CIFAR-100", 74.2, 71.1, 69.8, 0.083, 70.6
    ),
    ("cifar100", "stable-mobilenetv2"): _published(
        "stable MobileNetV2, CIFAR-100", 73.1, 71.6, 70.9, 0.058, 71.0
    ),
}
NEAREST = {
    "cifar10-jpeg": "cifar10",
    "tiny-imagenet100-32": "cifar100",
    "resnet20": "resnet56",
    "stable-resnet20": "stable-resnet56",
}
"""What of the paper stands beside a data set or network that it does not have."""


@dataclass(frozen=True, slots=True)
class Row:
    """What was measured of one run.

    Attributes:
        data: the data set.
        model: its name in the zoo.
        scheme: a key of ``SCHEMES``.
        seed: of training.
        epochs: that it was trained for.
        best_epoch: the one of the highest validation accuracy, from 0.
        validation: that accuracy, a fraction.
        parameters: of the network.
        correct: right answers among the test images, of the network as it is deployed.
        total: test images.
        mse: of block outputs, between rounded and unrounded activations; None in FP32.
        sqnr_db: of the same, the median over the blocks; None in FP32.
        unrounded: test accuracy with activations that are only clipped, a fraction; None in FP32.
        differing: test images that the exported ONNX file answers otherwise than torch.
    """

    data: str
    model: str
    scheme: str
    seed: int
    epochs: int
    best_epoch: int
    validation: float
    parameters: int
    correct: int
    total: int
    mse: float | None
    sqnr_db: float | None
    unrounded: float | None
    differing: int


def main() -> None:
    """Train what is missing, and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--data", default="cifar10-jpeg,tiny-imagenet100-32")
    parser.add_argument("--networks", default="resnet20,stable-resnet20")
    parser.add_argument("--schemes", default=",".join(SCHEMES))
    parser.add_argument("--epochs", type=int, default=40)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--print-only", action="store_true", help="train nothing")
    arguments = parser.parse_args()
    for data in arguments.data.split(","):
        source = load(data)
        sharp = (
            f"{sharpness(split.images[:]):.1f} in {name} images"
            for name, split in (("training", source.train), ("test", source.test))
        )
        print(f"{data}: neighbouring pixels differ by {' and '.join(sharp)}, of 255")
        if not arguments.print_only:
            for scheme in arguments.schemes.split(","):
                for model in arguments.networks.split(","):
                    _run(
                        recipe(model, data, scheme, arguments.epochs, arguments.seed),
                        scheme,
                        source,
                        arguments.folder,
                    )
    rows = [
        Row(**json.loads(path.read_text(encoding="utf-8"))["row"])
        for path in sorted(arguments.folder.glob("*/*/row.json"))
    ]
    print("\n".join(lines(rows)))


def sharpness(images: NDArray[np.uint8]) -> float:
    """How far pixels beside each other are apart: (n, height, width, channels).

    Sets that were made smaller in other ways differ in it.
    """
    return float(np.abs(np.diff(images[:2000].astype(np.int16), axis=2)).mean())


def recipe(model: str, data: str, scheme: str, epochs: int, seed: int) -> Recipe:
    """The published training, for fewer epochs; annealing keeps its share of them."""
    quantized = SCHEMES[scheme]
    return Recipe(
        model,
        data,
        quantized,
        epochs=epochs,
        seed=seed,
        precision="bf16",
        compiled=quantized is not None,
    )


def _run(run: Recipe, scheme: str, source: DataSource, folder: Path) -> None:
    place = folder / run.data / f"{run.model}-{scheme.replace('/', '')}-{run.seed}"
    path = place / "row.json"
    if path.exists() and json.loads(path.read_text(encoding="utf-8"))["recipe"] == run.to_dict():
        return
    result = train(
        run,
        source,
        place,
        resume=True,
        threads=1,
        report_epoch=lambda epoch: print(place.name, epoch, flush=True),
    )
    model = load_model(place / BEST).module
    error = (
        None if run.scheme is None else activation_error(model, batches(source.test, source, 250))
    )
    row = Row(
        run.data,
        run.model,
        scheme,
        run.seed,
        run.epochs,
        result.best_epoch,
        result.validation,
        count_parameters(
            build(run.model, classes=len(source.classes), in_channels=source.shape[0])
        ),
        result.test_correct,
        result.test_total,
        None if error is None else error.mse,
        None if error is None else statistics.median(block.sqnr_db for block in error.blocks),
        None if error is None else error.accuracy_unrounded,
        _differing(model, place, source),
    )
    blocks = [] if error is None else [block.rmse for block in error.blocks]
    machine = asdict(fingerprint())
    write_json(
        path,
        {"recipe": run.to_dict(), "row": asdict(row), "blocks_rmse": blocks, "machine": machine},
        overwrite=True,
    )
    print(row, flush=True)


@torch.inference_mode()
def _differing(model: torch.nn.Module, place: Path, source: DataSource) -> int:
    (file,) = export(place / BEST, ["onnx"], place, ExportOptions(), overwrite=True)
    with TARGETS.load(TARGET).open(file.path) as session:
        return sum(
            int(
                np.count_nonzero(
                    top1(session.run(images)) != top1(model(torch.from_numpy(images)).numpy())
                )
            )
            for images, _ in batches(source.test, source, 250)
        )


def lines(rows: Sequence[Row]) -> Iterator[str]:
    """The table, and for each pair of networks which of them rounding disturbs less."""
    yield (
        "| data | network | params, M | scheme | epoch | validation % | test %, 95 % | "
        "published | without rounding % | published "
        "| MSE 4A → 32A | its root | published | SQNR, median block, dB | answers that "
        f"{TARGET} gives otherwise |"
    )
    yield "|---|---|---|---|---|---|---|---|---|---|---|---|---|---|---|"
    order = {scheme: place for place, scheme in enumerate(SCHEMES)}
    for row in sorted(rows, key=lambda row: (row.data, row.model, row.seed, order[row.scheme])):
        yield _line(row)
    yield ""
    yield from _orderings(rows)


def _line(row: Row) -> str:
    paper = PAPER.get((NEAREST.get(row.data, row.data), NEAREST.get(row.model, row.model)))
    low, high = wilson(row.correct, row.total)
    four = row.scheme == "4W/4A" and paper is not None
    cells = [
        row.data,
        row.model,
        f"{row.parameters / 1e6:.2f}",
        row.scheme,
        f"{row.best_epoch + 1} of {row.epochs}",
        f"{100 * row.validation:.2f}",
        f"{100 * row.correct / row.total:.2f}, {100 * low:.1f} to {100 * high:.1f}",
        "–" if paper is None else f"{paper.accuracy[row.scheme]:.1f} ({paper.table})",
        "–" if row.unrounded is None else f"{100 * row.unrounded:.2f}",
        f"{paper.unrounded:.1f}" if paper is not None and four else "–",
        "–" if row.mse is None else f"{row.mse:.2e}",
        "–" if row.mse is None else f"{row.mse**0.5:.3f}",
        f"{paper.mse:.3f}" if paper is not None and four else "–",
        "–" if row.sqnr_db is None else f"{row.sqnr_db:.1f}",
        f"{row.differing} of {row.total}",
    ]
    return f"| {' | '.join(cells)} |"


def _orderings(rows: Sequence[Row]) -> Iterator[str]:
    found = {(row.data, row.scheme, row.seed, row.model): row for row in rows}
    for (data, scheme, seed, model), stable in sorted(found.items()):
        plain = found.get((data, scheme, seed, model.removeprefix("stable-")))
        if (
            plain is not None
            and plain is not stable
            and plain.mse is not None
            and stable.mse is not None
        ):
            yield (
                f"{data} {scheme}, seed {seed}: MSE of {plain.model} is "
                f"{plain.mse / stable.mse:.2f} times that of {model}"
            )


if __name__ == "__main__":
    run(main)
