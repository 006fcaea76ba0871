"""How well do networks with binary weights and activations recognise digits?

And do their files answer as torch does?

    EDGEQ_DATA=DIR python -m benchmarks.published.mnist --folder DIR
        [--epochs 15] [--variants float,binary-connect]

The fully connected network of Courbariaux, Bengio and David, *BinaryConnect* (2015), Sec. 3.1, with
3 x 1024 hidden units, and their training (Adam, squared hinge loss, exponential decay of the
learning rate, batches of 100), for fewer epochs than their 250; XNOR-Net's weights and activations
(Rastegari et al., 2016) on the same network, first and last layer left at 8 bits. The best epoch is
chosen on a tenth of the training images. Where ``--folder`` holds a run already it goes on; what it
finished is only printed.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch

from benchmarks.support.command import run
from edgeq.data import batches, load
from edgeq.deploy.pipeline.export import export
from edgeq.errors import EdgeqError
from edgeq.exporter import ExportOptions
from edgeq.files import write_json
from edgeq.machine import fingerprint
from edgeq.metrics.accuracy import wilson
from edgeq.qdq.qoperator.convert import read_as_qdq
from edgeq.qdq.reader import read_qdq
from edgeq.target import TARGETS
from edgeq.training.checkpoint import load_model
from edgeq.training.recipes.optimization import Optimizer, Schedule
from edgeq.training.recipes.recipe import Recipe
from edgeq.training.recipes.scheme import Scheme
from edgeq.training.run.loop import train
from edgeq.training.run.run_folder import BEST, RUN

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from edgeq.data import DataSource, Split

FIRST_LR, LAST_LR = 1e-3, 3e-6
TARGET_FILES = {"ort-cpu-ref": ("onnx", 10000), "tflite-ref": ("tflite", 1000)}
"""Format, and how many test images; the reference kernels of TFLite are slow."""


@dataclass(frozen=True, slots=True)
class Variant:
    """A way to quantise the network.

    Attributes:
        scheme: None for float.
        published: the test error with its standard deviation in Courbariaux et al., Table 2, in
            percent; empty for none.
        as_trained: whether the published figure is of the real weights that training keeps, not of
            binary ones.
        model: its name in the zoo.
    """

    scheme: Scheme | None
    published: str = ""
    as_trained: bool = False
    model: str = "mlp-3x1024"


VARIANTS = {
    "float": Variant(None, "1.30 ± 0.04"),
    "binary-connect": Variant(
        Scheme(1, 8, weights="binary-connect", first_last="inner"), "1.29 ± 0.08"
    ),
    "binary-connect-stochastic": Variant(
        Scheme(1, 8, weights="binary-connect-stochastic", first_last="inner"),
        "1.18 ± 0.04",
        as_trained=True,
    ),
    "xnor-weights": Variant(Scheme(1, 8, weights="xnor", per_channel=True)),
    "xnor": Variant(
        Scheme(1, 1, weights="xnor", per_channel=True, activations="xnor"),
        model="mlp-3x1024-signed",
    ),
}


@dataclass(frozen=True, slots=True)
class Agreement:
    """An exported file on a runtime, beside torch.

    Attributes:
        images: compared.
        answers: that differ.
        values: of the outputs that differ.
        most_lsb: the largest difference, in steps of the output.
        size_bytes: of the file.
    """

    images: int
    answers: int
    values: int
    most_lsb: int
    size_bytes: int


@dataclass(frozen=True, slots=True)
class Row:
    """What was measured of one variant.

    Attributes:
        variant: its name.
        epochs: that it was trained for.
        seed: of its training.
        best_epoch: the one that was chosen, from 0.
        validation: its accuracy there, a fraction.
        wrong: test images answered wrongly, as exported.
        wrong_unrounded: the same with the weights that training keeps; None for a float network.
        total: test images.
        files: target to what its file answered; empty for a float network.
        refusal: why there are no files.
    """

    variant: str
    epochs: int
    seed: int
    best_epoch: int
    validation: float
    wrong: int
    wrong_unrounded: int | None
    total: int
    files: dict[str, Agreement]
    refusal: str = ""


def agreement(
    reference: NDArray[np.float32], answers: NDArray[np.float32], step: float, size_bytes: int
) -> Agreement:
    """Compare outputs, both (samples, classes), that lie on one grid of a step."""
    distance = np.rint(np.abs(reference.astype(np.float64) - answers) / step).astype(np.int64)
    differing = int((reference.argmax(axis=1) != answers.argmax(axis=1)).sum())
    return Agreement(
        len(reference),
        differing,
        int(np.count_nonzero(distance)),
        int(distance.max(initial=0)),
        size_bytes,
    )


def published_recipe(variant: Variant, epochs: int, seed: int) -> Recipe:
    """BinaryConnect's, with as much decay of the learning rate in fewer epochs."""
    return Recipe(
        variant.model,
        "mnist",
        variant.scheme,
        epochs=epochs,
        batch_size=100,
        lr=FIRST_LR,
        weight_decay=0.0,
        anneal_from=2,
        seed=seed,
        precision="bf16",  # more than twice as fast on a CPU that multiplies it
        optimizer=Optimizer("adam"),
        schedule=Schedule("exponential", factor=(LAST_LR / FIRST_LR) ** (1 / epochs)),
        loss="squared-hinge",
    )


def main() -> None:
    """Train what is not trained yet, export, compare and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--variants", default=",".join(VARIANTS))
    parser.add_argument("--epochs", type=int, default=15)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    source = load("mnist")
    rows = []
    for name in arguments.variants.split(","):
        rows.append(_row(name, source, arguments.folder / name, arguments.epochs, arguments.seed))
        print(_markdown(rows), flush=True)
    write_json(arguments.folder / "mnist.json", [asdict(row) for row in rows], overwrite=True)


def _row(name: str, source: DataSource, folder: Path, epochs: int, seed: int) -> Row:
    path = folder / "row.json"
    if path.exists() and (row := _read(path)).epochs == epochs and row.seed == seed:
        return row
    if not (folder / RUN).exists():
        recipe = published_recipe(VARIANTS[name], epochs, seed)
        train(recipe, replace(source, augmentation="none"), folder, resume=True, threads=1)
    row = _measure(name, source, folder, epochs, seed)
    write_json(path, asdict(row), overwrite=True)
    return row


def _read(path: Path) -> Row:
    content = json.loads(path.read_text(encoding="utf-8"))
    return Row(
        **{
            **content,
            "files": {target: Agreement(**found) for target, found in content["files"].items()},
        }
    )


def _measure(name: str, source: DataSource, folder: Path, epochs: int, seed: int) -> Row:
    summary = json.loads((folder / RUN).read_text(encoding="utf-8"))
    outputs = _torch_outputs(folder / BEST, source)
    quantized = VARIANTS[name].scheme is not None
    files, refusal = _files(folder, source, outputs) if quantized else ({}, "")
    return Row(
        name,
        epochs,
        seed,
        summary["best_epoch"],
        summary["validation"],
        _wrong(outputs, source.test),
        _wrong(_torch_outputs(folder / BEST, source, rounding=False), source.test)
        if quantized
        else None,
        len(source.test),
        files,
        refusal,
    )


def _files(
    folder: Path, source: DataSource, outputs: NDArray[np.float32]
) -> tuple[dict[str, Agreement], str]:
    try:
        written = {
            file.format: file
            for file in export(
                folder / BEST, ["onnx", "tflite"], folder, ExportOptions(), overwrite=True
            )
        }
    except EdgeqError as error:
        return {}, str(error)
    step = float(read_qdq(read_as_qdq(written["onnx"].path)).outputs[0].tensor.scale)
    found = {}
    for target, (kind, images) in TARGET_FILES.items():
        answers = _outputs(target, written[kind].path, source, source.test.take(np.arange(images)))
        found[target] = agreement(outputs[:images], answers, step, written[kind].size_bytes)
    return found, ""


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


def _wrong(outputs: NDArray[np.float32], split: Split) -> int:
    return int((outputs.argmax(axis=1) != split.class_labels).sum())


def _markdown(rows: Sequence[Row]) -> str:
    machine = fingerprint()
    runtimes = ", ".join(
        f"{name} {machine.runtimes[name]}" for name in ("torch", "onnxruntime", "ai-edge-litert")
    )
    about = (
        f"mnist, {rows[0].epochs} epochs of 54,000 images, seed {rows[0].seed}, "
        f"{rows[0].total} test images; {machine.cpu}, {runtimes}"
    )
    beside = " | ".join(f"{target} beside torch" for target in TARGET_FILES)
    head = (
        "| network | best epoch | validation error % | test error %, 95 % | with "
        "unrounded weights and activations | published | "
        f"{beside} | kB onnx / tflite |"
    )
    return "\n".join(
        [
            "",
            about,
            "",
            head,
            "|---|---|---|---|---|---|---|---|---|",
            *(_line(row) for row in rows),
        ]
    )


def _line(row: Row) -> str:
    low, high = wilson(row.wrong, row.total)
    variant = VARIANTS[row.variant]
    cells = [
        row.variant,
        str(row.best_epoch + 1),
        f"{100 * (1 - row.validation):.2f}",
        f"{100 * row.wrong / row.total:.2f}, {100 * low:.2f} to {100 * high:.2f}",
        "–" if row.wrong_unrounded is None else f"{100 * row.wrong_unrounded / row.total:.2f}",
        f"{variant.published or '–'}{' (real weights)' if variant.as_trained else ''}",
        *(_agreement(row.files.get(target)) for target in TARGET_FILES),
        row.refusal
        or " / ".join(f"{found.size_bytes / 1000:.0f}" for found in row.files.values())
        or "–",
    ]
    return f"| {' | '.join(cells)} |"


def _agreement(found: Agreement | None) -> str:
    if found is None:
        return "–"
    return (
        f"{found.answers} of {found.images} answers and {found.values} of {10 * found.images} "
        f"outputs differ, by {found.most_lsb} LSB"
    )


if __name__ == "__main__":
    run(main)
