"""Certificates held against every runtime here: of 10,000 images, and of files of other tools.

    EDGEQ_DATA=DIR python -m benchmarks.certificate [--limit N] [--real N]

A network of two convolutions and a linear layer is trained on MNIST for two epochs, calibrated to
8W/8A and written as ONNX and TFLite with the same integers; each file has its own certificate, and
answers of its runtimes are held against it. Then TFLite files that ship in products are certified,
with ``--real`` samples each: images where there are some, else numbers over the range of the input.
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from PIL import Image
from torch import nn

import edgeq
from edgeq.data import First, load, normalize
from edgeq.deploy import console
from edgeq.deploy.bounds.drift.tables import answers_table, held_table
from edgeq.files import temporary_folder
from edgeq.formats.tflite_file import graph_of
from edgeq.targets.emulator.tflite.op import params_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from edgeq.tabular import Table

ONNX = (
    *("ort-cpu", "ort-cpu-ref"),
    *("emulator:onnx-reference", "emulator:avx2", "emulator:tflite-reference"),
)
TFLITE = (
    *("tflite", "tflite-builtin", "tflite-ref", "tflm"),
    *("emulator:tflite-reference", "emulator:tflm", "emulator:cmsis-nn-m4"),
)
REAL = (
    "models/resnet8-int8.tflite",
    "real/mcunet_vww.tflite",
    "real/micro_speech_quantized.tflite",
    "real/mww_v2_okay_nabu.tflite",
    "real/hello_world_int8.tflite",
)
EPOCHS = 2
BATCH = 128
COLUMNS = ("file", "samples", "bound", "measured", "cannot change", "runtimes", "drift", "beyond")


def _trained() -> nn.Module:
    torch.manual_seed(0)
    mnist = load("mnist")
    images = torch.from_numpy(normalize(mnist.train.images, mnist))
    labels = torch.from_numpy(mnist.train.labels)
    network = nn.Sequential(
        *(nn.Conv2d(1, 8, 5, stride=2), nn.ReLU(), nn.Conv2d(8, 16, 3, stride=2), nn.ReLU()),
        *(nn.Flatten(), nn.Linear(400, 10)),
    )
    optimizer = torch.optim.Adam(network.parameters(), lr=0.002)
    for _ in range(EPOCHS):
        for chosen in torch.randperm(len(images)).split(BATCH):
            optimizer.zero_grad()
            nn.functional.cross_entropy(network(images[chosen]), labels[chosen]).backward()
            optimizer.step()
    return network


def _samples(file: Path, folder: Path, count: int) -> NDArray[np.float32]:
    """What a file of another tool is asked: images, channels first, or numbers of its range."""
    random = np.random.default_rng(0)
    if file.name.startswith("resnet8"):
        stored = np.load(folder / "cifar10-lossless" / "test.npz")["images"][:count]
        return np.ascontiguousarray(stored.transpose(0, 3, 1, 2), np.float32)
    if file.name.startswith("mcunet"):
        return np.stack([_crop(each, random) for each in _pictures(folder, count)])
    (tensor,) = graph_of(file.read_bytes()).inputs
    grid = params_of(tensor)
    if grid is None:
        raise SystemExit(f"{file} has an input without a scale")
    integers = random.integers(grid.qmin, grid.qmax + 1, (count, *tensor.shape[1:]))
    return grid.dequantize(integers)


def _pictures(folder: Path, count: int) -> Sequence[Path]:
    found = sorted((folder / "real" / "images").glob("*.jpg"))
    return [found[place % len(found)] for place in range(count)]


def _crop(file: Path, random: np.random.Generator) -> NDArray[np.float32]:
    """A square part of a picture in 80 x 80, from -1 to 1."""
    with Image.open(file) as image:
        side = int(random.integers(80, min(image.size) + 1))
        left, top = (int(random.integers(0, size - side + 1)) for size in image.size)
        part = image.convert("RGB").crop((left, top, left + side, top + side)).resize((80, 80))
    return (np.asarray(part, np.float32) / 127.5 - 1).transpose(2, 0, 1)


def _show(table: Table) -> None:
    console.write_table(table.title, table.columns, table.rows, numbers=table.columns[1:])


def main() -> None:
    """Train, write both files and print their certificates; then those of files of other tools."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--limit", type=int, help="MNIST images; all by default")
    parser.add_argument("--real", type=int, default=64, help="samples of each other file")
    asked = parser.parse_args()
    with temporary_folder() as folder:
        onnx, tflite = folder / "mnist.onnx", folder / "mnist.tflite"
        edgeq.calibrate(_trained(), "mnist", onnx, samples=256)
        edgeq.export(onnx, path=tflite)
        for path, runtimes in ((onnx, ONNX), (tflite, TFLITE)):
            found = edgeq.bounds(path, "mnist", targets=runtimes, limit=First(asked.limit))
            _show(answers_table(found.certificates))
            _show(held_table(found.certificates))
        given = Path(os.environ["EDGEQ_DATA"])
        rows = [_row(given / name, given, folder, asked.real) for name in REAL]
        console.write_table("Files of other tools", COLUMNS, rows, numbers=COLUMNS[1:])


def _row(file: Path, given: Path, folder: Path, count: int) -> tuple[str, ...]:
    samples = _samples(file, given, count)
    data = folder / f"{file.stem}.npz"
    np.savez(data, images=samples, labels=np.zeros(len(samples), np.int64))
    first = edgeq.bounds(file, str(data), targets=TFLITE).certificates[0]
    return (
        file.name,
        str(first.samples),
        f"{first.bound:.4g}",
        f"{first.measured:.4g}",
        str(first.certified),
        str(len(first.held)),
        f"{max(each.drift for each in first.held):.4g}",
        str(sum(each.violations + each.changed for each in first.held)),
    )


if __name__ == "__main__":
    main()
