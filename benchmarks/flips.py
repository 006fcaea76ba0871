"""Answers that change between runtimes, of stable and plain networks, with what explains them.

    python -m benchmarks.flips --folder OUT [--seeds 3] [--epochs 12] [--schemes 8/8]
        [--networks resnet8,stable-resnet8]

Small networks are trained on the digits, exported, and run everywhere. Beside the answers that
differ from the reference's stand the margin between the two largest logits and the error of the
logits, both in steps of the grid that the logits lie on, and how many integers differ at the end of
the first and of the last block.
"""

from __future__ import annotations

import argparse
import json
import math
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

import edgeq
from benchmarks.support.command import run
from edgeq.data import First, batches, load
from edgeq.deploy.pipeline.export import export
from edgeq.exporter import ExportOptions
from edgeq.files import write_json
from edgeq.target import TARGETS
from edgeq.training.recipes.recipe import Recipe
from edgeq.training.recipes.scheme import Scheme
from edgeq.training.run.loop import train
from edgeq.training.run.run_folder import BEST

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

    from edgeq.data import DataSource

NETWORKS = ("resnet8", "stable-resnet8")
REFERENCE = "ort-cpu-ref"
RUNTIMES = (
    ("onnx", "ort-cpu"),
    ("onnx", "emulator"),
    ("tflite", "tflite-ref"),
    ("tflite", "tflite-builtin"),
    ("tflite", "tflite"),
)


@dataclass(frozen=True, slots=True)
class Row:
    """One network on one runtime beside the reference.

    Attributes:
        network: its name in the zoo.
        scheme: bits of weights and activations.
        seed: of training.
        runtime: the target.
        right: test samples that the reference answers right.
        flipped: test samples with another answer.
        tied: of all samples, how many have a margin of no more than one step on the reference.
        tied_flipped: of those that flipped, how many.
        margin: the median margin, in steps.
        off: the root mean square difference of the logits, in steps.
        largest: the largest one.
        first: the share of integers that differ at the end of the first block.
        last: of the last.
    """

    network: str
    scheme: str
    seed: int
    runtime: str
    right: int
    flipped: int
    tied: int
    tied_flipped: int
    margin: float
    off: float
    largest: float
    first: float
    last: float


def main() -> None:
    """Train what is missing, run everything, and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--epochs", type=int, default=12)
    parser.add_argument("--schemes", default="8/8")
    parser.add_argument("--networks", default=",".join(NETWORKS))
    arguments = parser.parse_args()
    source = load("digits")
    rows: list[Row] = []
    for scheme in arguments.schemes.split(","):
        for network in arguments.networks.split(","):
            for seed in range(arguments.seeds):
                place = (
                    arguments.folder
                    / f"{network}-{scheme.replace('/', '-')}-{arguments.epochs}-{seed}"
                )
                rows += _rows(network, scheme, seed, arguments.epochs, place, source)
    print("\n".join(_lines(rows)))


def _rows(
    network: str, scheme: str, seed: int, epochs: int, place: Path, source: DataSource
) -> list[Row]:
    kept = place / "rows.json"
    if kept.exists():
        return [Row(**each) for each in json.loads(kept.read_text())["rows"]]
    weights, activations = map(int, scheme.split("/"))
    recipe = Recipe(network, "digits", Scheme(weights, activations), epochs=epochs, seed=seed)
    train(recipe, source, place, resume=True, threads=1)
    written = export(place / BEST, ["onnx", "tflite"], place, ExportOptions(), overwrite=True)
    files = {each.path.suffix[1:]: each.path for each in written}
    logits = _logits(files["onnx"], REFERENCE, source)
    step = _step(files["onnx"])
    found = [
        _row((network, scheme, seed, target), files, kind, logits, step, source)
        for kind, target in RUNTIMES
    ]
    write_json(kept, {"rows": [asdict(row) for row in found]}, overwrite=True)
    return found


def _row(
    named: tuple[str, str, int, str],
    files: dict[str, Path],
    kind: str,
    logits: NDArray[np.float32],
    step: float,
    source: DataSource,
) -> Row:
    labels = source.test.class_labels
    mine = _logits(files[kind], named[3], source)
    ordered = np.sort(logits, axis=1) / step
    margin = ordered[:, -1] - ordered[:, -2]
    flipped = mine.argmax(1) != logits.argmax(1)
    off = np.abs(mine - logits) / step
    paths = list(dict.fromkeys([files["onnx"], files[kind]]))
    depth = edgeq.compare(
        paths, source, targets=[REFERENCE, named[3]], limit=First(60), growth=True
    )
    blocks = next(each for each in depth.growth if each.stage.endswith(f"@ {named[3]}")).blocks
    shares = [1 - each.lsb.get(0, 0) / each.elements for each in blocks if each.lsb]
    return Row(
        *named,
        int((logits.argmax(1) == labels).sum()),
        int(flipped.sum()),
        int((margin < 1.5).sum()),
        int((margin[flipped] < 1.5).sum()),
        float(np.median(margin)),
        float(np.sqrt((off**2).mean())),
        float(off.max()),
        shares[0] if shares else float("nan"),
        shares[-1] if shares else float("nan"),
    )


def _logits(file: Path, target: str, source: DataSource) -> NDArray[np.float32]:
    with TARGETS.load(target).open(file) as session:
        return np.concatenate(
            [session.run(images) for images, _ in batches(source.test, source, 90)]
        )


def _step(file: Path) -> float:
    """Of the grid that the logits lie on."""
    from edgeq.formats.onnx_io import read
    from edgeq.qdq.reader import read_qdq

    return float(read_qdq(read(file)).ops[-1].output.params.scale)


def _lines(rows: Sequence[Row]) -> Iterator[str]:
    yield (
        "| network | scheme | seed | right | runtime | flipped | of them within a step "
        "| all within a step | median margin, steps | RMS error, steps | largest "
        "| differ, first block % | last block % |"
    )
    yield "|---|---|---|---|---|---|---|---|---|---|---|---|---|"
    for row in rows:
        yield (
            f"| {row.network} | {row.scheme} | {row.seed} | {row.right} | {row.runtime} "
            f"| {row.flipped} | {row.tied_flipped} | {row.tied} | {row.margin:.0f} "
            f"| {row.off:.2f} | {row.largest:.0f} | {_percent(row.first)} | {_percent(row.last)} |"
        )


def _percent(share: float) -> str:
    return "–" if math.isnan(share) else f"{100 * share:.2f}"


if __name__ == "__main__":
    run(main)
