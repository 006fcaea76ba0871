"""What do weights of one bit save on disk and in operations, and do they answer the same?

    EDGEQ_DATA=DIR python -m benchmarks.published.xnor_net [--images 1000] [--networks mlp,alexnet]

The table of Rastegari et al., *XNOR-Net* (2016): memory about 32 times smaller, operations about 2
times fewer with binary weights and about 58 times with binary inputs, too. ImageNet could not be
had, so their AlexNet is measured without training; the fully connected network of BinaryConnect is
trained for an epoch on MNIST, and its files are held against torch and against each other. The
example is the layer that their figure 4 starts from: 256 channels of 14 x 14, windows of 3 x 3.

Operations are counted from the emulator's layers as the paper counts them, in multiply-adds: one
for each product of a layer in float or of 8 bits; half of one where weights have one bit, which
leaves the addition; one for 64 products where inputs have one, too, which is an XNOR and a
popcount of words. Layers with weights of one bit have one more for each result, its scale. Signs of
activations are integers of -1 and +1, and 0 where what they are made of rounds to it; a machine
needs a second word, the mask, for those, which the paper's does not have.
"""

from __future__ import annotations

import argparse
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import nn

from benchmarks.support.command import run
from edgeq.data import batches, load
from edgeq.deploy.sweep.experiments.binary import VARIANTS, agreement, published_recipe
from edgeq.deploy.sweep.experiments.parts import reduced
from edgeq.exporter import ExportOptions
from edgeq.exporters.onnx import exporter
from edgeq.exporters.torch.lower import lower
from edgeq.formats.onnx_io import parse, serialize
from edgeq.machine import fingerprint
from edgeq.models import zoo
from edgeq.qdq.ir import QdqConstant
from edgeq.qdq.reader import read_qdq
from edgeq.target import TARGETS
from edgeq.training.checkpoint import load_model
from edgeq.training.qat_transform import quantize
from edgeq.training.run.loop import train
from edgeq.training.run.run_folder import BEST

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from edgeq.data import DataSource
    from edgeq.targets.emulator.program import LayerWorkload

WORD = 64
"""Bits of a word of the published machine."""
SIGN_BITS = 2
"""Bits of the integers -1, 0 and +1."""
TEST_IMAGES = 1000
COLUMNS = (
    "network",
    "quantised",
    "float32, kB",
    "8-bit weights, kB",
    "one-bit weights, kB",
    "file smaller by",
    "weights of those layers by",
    "multiply-adds, M",
    "fewer by",
    "in those layers by",
)


@dataclass(frozen=True, slots=True)
class Counted:
    """The operations of layers, in multiply-adds.

    Attributes:
        in_float: with products of floats.
        counted: as they are.
    """

    in_float: float
    counted: float

    @property
    def ratio(self) -> float:
        """How many times fewer."""
        return self.in_float / self.counted


def operations(layers: Sequence[LayerWorkload]) -> Counted:
    """What layers cost as the paper counts."""
    return Counted(sum(work.macs for work in layers), sum(map(_of_layer, layers)))


def _of_layer(work: LayerWorkload) -> float:
    if work.weight_bits != 1 or not work.macs:
        return work.macs
    taps = work.macs // work.outputs
    each = -(-taps // WORD) if work.input_bits <= SIGN_BITS else taps / 2
    return work.outputs * (each + 1)


def main() -> None:
    """Measure, and print two tables."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--images", type=int, default=1000, help="of training; 0 for all")
    parser.add_argument("--networks", default="mlp,example,alexnet")
    asked = parser.parse_args()
    torch.set_num_threads(1)
    print(f"{fingerprint().cpu}\n\n| {' | '.join(COLUMNS)} |\n|{'---|' * len(COLUMNS)}", flush=True)
    answers = []
    with tempfile.TemporaryDirectory() as name:
        for network in asked.networks.split(","):
            for variant in ("binary-connect", "xnor-weights", "xnor"):
                if network == "mlp":
                    answers.append(trained(variant, asked.images, Path(name)))
                elif variant != "binary-connect":
                    untrained(network, variant, Path(name))
    print("\n| quantised | against | answers changed | outputs that differ | most LSB |")
    print("|---|---|---|---|---|", *(line for lines in answers for line in lines), sep="\n")


def trained(variant: str, images: int, folder: Path) -> list[str]:
    """Train the fully connected network, print its sizes; gives how its files agree."""
    source = replace(reduced(load("mnist"), images, 0, TEST_IMAGES), augmentation="none")
    recipe = published_recipe(VARIANTS[variant], "mnist", 1, seed=0)
    checkpoint = folder / variant / BEST
    train(recipe, source, folder / variant, threads=1, overwrite=True)
    quantized = load_model(checkpoint).module
    model = VARIANTS[variant].model
    plain = zoo.build(model, classes=10, in_channels=1, image_size=(28, 28)).eval()
    files = written(model, variant, quantized, plain, (1, 28, 28), folder)
    step = float(read_qdq(parse(files[1].read_bytes(), "a file")).outputs[0].tensor.scale)
    expected = {
        "torch, in float": _torch(quantized, source),
        "8-bit weights": _answers(files[0], source),
    }
    found = _answers(files[1], source)
    rows = []
    for name, one in expected.items():
        numbers = agreement(one, found, step).values()
        rows.append(f"| {variant} | {name} | {' | '.join(f'{number:g}' for number in numbers)} |")
    return rows


def untrained(network: str, variant: str, folder: Path) -> None:
    """Print the sizes of a network as it is initialised."""
    torch.manual_seed(0)
    plain, shape = NETWORKS[network](), SHAPES[network]
    scheme = VARIANTS[variant].scheme
    assert scheme is not None  # noqa: S101  # of those that are asked for
    example = torch.randn(2, *shape)
    quantized = quantize(plain, scheme, example).train()
    with torch.no_grad():
        quantized(example)
    written(network, variant, quantized.eval(), plain.eval(), shape, folder)


def written(
    network: str,
    variant: str,
    quantized: nn.Module,
    plain: nn.Module,
    shape: tuple[int, ...],
    folder: Path,
) -> tuple[Path, Path]:
    """Write a network's weights in 8 bits and in one, and print its row; gives the files."""
    model = lower(quantized, shape)
    eight, one = (
        exporter.export(model, ExportOptions(weight_storage=storage))
        for storage in ("int8", "one-bit")
    )
    assert not one.parity.different  # noqa: S101  # every number was read back
    paths = (folder / f"{variant}-8.onnx", folder / f"{variant}-1.onnx")
    for path, exported in zip(paths, (eight, one), strict=True):
        path.write_bytes(exported.content)
    with TARGETS.load("emulator:accel-4bit").open(paths[1]) as session:
        layers = [report.work for report in session.layers()]  # type: ignore[attr-defined]
    binary = [work for work in layers if work.weight_bits == 1 and work.macs]
    whole, part = operations(layers), operations(binary)
    counts = signs_in(one.content)
    sizes = [len(serialize(lower(plain, shape))), eight.size_bytes, one.size_bytes]
    cells = [
        network,
        variant,
        *(f"{size / 1000:,.1f}" for size in sizes),
        f"{sizes[0] / sizes[2]:.1f}",
        f"{4 * sum(counts) / sum(-(-count // 8) for count in counts):.1f}",
        f"{whole.in_float / 1e6:,.1f}",
        f"{whole.ratio:.1f}",
        f"{part.ratio:.1f}",
    ]
    print(f"| {' | '.join(cells)} |", flush=True)
    return paths


def signs_in(content: bytes) -> list[int]:
    """How many weights each constant of one bit has, as it is read back from a file."""
    constants = [
        operand.values
        for op in read_qdq(parse(content, "a file")).ops
        for operand in op.inputs
        if isinstance(operand, QdqConstant) and operand.values.dtype == np.int8
    ]
    return [values.size for values in constants if (np.abs(values) == 1).all()]


def _torch(module: nn.Module, source: DataSource) -> NDArray[np.float32]:
    with torch.inference_mode():
        return np.concatenate(
            [
                module(torch.from_numpy(images)).numpy()
                for images, _ in batches(source.test, source, 500)
            ]
        )


def _answers(path: Path, source: DataSource) -> NDArray[np.float32]:
    with TARGETS.load("ort-cpu-ref").open(path) as session:
        return np.concatenate(
            [session.run(images) for images, _ in batches(source.test, source, 500)]
        )


def example() -> nn.Module:
    """The published example as the inner layer of three."""
    return nn.Sequential(
        nn.Conv2d(3, 256, 3, padding=1, bias=False),
        nn.BatchNorm2d(256),
        nn.Conv2d(256, 256, 3, padding=1, bias=False),
        nn.BatchNorm2d(256),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(256, 10),
    )


def alexnet() -> nn.Module:
    """AlexNet in one column, with BatchNorm, and no ReLU in front of layers that read signs."""
    layers: list[nn.Module] = []
    before = 3
    for width, window, stride, pooled in (
        (96, 11, 4, True),
        (256, 5, 1, True),
        (384, 3, 1, False),
        (384, 3, 1, False),
        (256, 3, 1, True),
    ):
        padding = 2 if window > 3 else 1
        layers += [
            nn.Conv2d(before, width, window, stride, padding, bias=False),
            nn.BatchNorm2d(width),
            *([nn.MaxPool2d(3, 2)] if pooled else []),
        ]
        before = width
    layers.append(nn.Flatten())
    before *= 6 * 6
    for _ in range(2):
        layers += [nn.Linear(before, 4096, bias=False), nn.BatchNorm1d(4096)]
        before = 4096
    return nn.Sequential(*layers, nn.ReLU(), nn.Linear(before, 1000))


NETWORKS = {"example": example, "alexnet": alexnet}
SHAPES = {"example": (3, 14, 14), "alexnet": (3, 224, 224)}


if __name__ == "__main__":
    run(main)
