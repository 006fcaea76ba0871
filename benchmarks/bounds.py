"""How much tighter the bound with the mean radius is, and how far each bound is above an error.

    python -m benchmarks.bounds [--weights FOLDER]

The first table has, for each network, by what power of ten ``r_mean^{L-1}`` is below
``r_max^{L-1}`` in l-infinity, BatchNorm folded, beside what Houache, Aujol and Traonmilin (2025)
publish for networks trained on Tiny ImageNet. Ours are initialised, or trained on CIFAR-10 where
``FOLDER`` holds their weights. The second has fully connected networks of 5 to 11 layers with
weights rounded to 8 bits: the largest error of 1,149 digits, and the bounds above it.
"""

from __future__ import annotations

import argparse
import math
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import nn

from edgeq.bounding.layered import (
    LayerPair,
    bits_needed,
    geometric,
    improvement,
    lipschitz_in_parameters,
    maximal,
    telescoping,
)
from edgeq.bounding.norms import row_sums
from edgeq.data import load, normalize
from edgeq.models import zoo
from edgeq.models.pretrained import load_npz_weights

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    Weights = list[tuple[NDArray[np.float64], NDArray[np.float64]]]

PUBLISHED = {"resnet18": 8, "resnet50": 27, "mobilenetv2": 56}
NETWORKS = ("resnet18", "mobilenetv2", "resnet20-a", "resnet56-a", "vgg19-bn")
DEPTHS = (5, 7, 9, 11)


def main() -> None:
    """Compute and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--weights", type=Path, help="folder of resnet20-cifar10.npz and others")
    folder: Path | None = parser.parse_args().weights
    print("| network | weights | layers | power of ten | published |\n|---|---|---|---|---|")
    for name in NETWORKS:
        torch.manual_seed(0)
        model = zoo.build(name, classes=10, image_size=(32, 32)).eval()
        path = None if folder is None else folder / f"{name.removesuffix('-a')}-cifar10.npz"
        trained = path is not None and path.exists()
        if trained and path is not None:
            load_npz_weights(model, path)
        layers = [_pair(w, w, b, b) for w, b in _folded(model)]
        kind = "trained" if trained else "initialised"
        told = PUBLISHED.get(name, "–")
        print(f"| {name} | {kind} | {len(layers)} | {improvement(layers):.1f} | {told} |")
    print(
        "\n| depth | error | B1, measured activations | B1 | B3, r_mean | B4, r_max | power of ten "
        "| bits by B4 for 0.01 | K, at least | at most |\n|---|---|---|---|---|---|---|---|---|---|"
    )
    for depth in DEPTHS:
        print(f"| {depth} | {' | '.join(_dense(depth))} |")


def _pair(
    w: NDArray[np.float64],
    other: NDArray[np.float64],
    b: NDArray[np.float64],
    other_b: NDArray[np.float64],
) -> LayerPair:
    """In l-infinity, with the bias as a column of its own."""
    norms = [float(row_sums(each).max()) for each in (w, other, w - other)]
    biases = [float(np.abs(each).max()) for each in (b, other_b, b - other_b)]
    return LayerPair(*norms, *biases, inputs=int(np.prod(w.shape[1:])))


def _folded(model: nn.Module) -> Iterator[tuple[NDArray[np.float64], NDArray[np.float64]]]:
    """Weights and biases with each BatchNorm in the layer in front of it, in module order."""
    layers = [each for each in model.modules() if isinstance(each, _LAYERS)]
    for place, layer in enumerate(layers):
        if isinstance(layer, nn.BatchNorm2d):
            continue
        w = layer.weight.detach().double().numpy()
        b = np.zeros(len(w)) if layer.bias is None else layer.bias.detach().double().numpy()
        norm = layers[place + 1] if place + 1 < len(layers) else None
        if isinstance(norm, nn.BatchNorm2d):
            variance = norm.get_buffer("running_var").double() + norm.eps
            factor = (norm.weight.double() / variance.sqrt()).detach().numpy()
            mean = norm.get_buffer("running_mean").double().numpy()
            b = norm.bias.detach().double().numpy() + factor * (b - mean)
            w = w * factor.reshape(-1, *[1] * (w.ndim - 1))
        yield w, b


_LAYERS = (nn.Conv2d, nn.Linear, nn.BatchNorm2d)


def _dense(depth: int) -> list[str]:
    """One fully connected network and its copy with weights rounded to 8 bits."""
    torch.manual_seed(0)
    source = load("digits")
    first = list(_folded(zoo.build(f"mlp{depth}", classes=10, in_channels=1, image_size=(8, 8))))
    steps = [float(np.abs(w).max()) / 127 for w, _ in first]
    second = [(np.rint(w / s) * s, b) for (w, b), s in zip(first, steps, strict=True)]
    x = normalize(source.train.images, source).reshape(len(source.train), -1).astype(np.float64)
    one, (other, hidden) = _run(first, x)[0], _run(second, x)
    layers = [_pair(w, v, b, c) for (w, b), (v, c) in zip(first, second, strict=True)]
    size, most = float(np.abs(x).max()), max(steps) / 2
    bounds = (
        float(np.abs(one - other).max()),
        telescoping(layers, size, hidden),
        telescoping(layers, size),
        geometric(layers, size, most),
        maximal(layers, size, most),
    )
    bits = bits_needed(layers, size, 0.01, max(float(np.abs(w).max()) for w, _ in first))
    low, high = lipschitz_in_parameters(layers, size)
    return [
        *(f"{each:.2e}" for each in bounds),
        f"{improvement(layers):.1f}",
        str(bits),
        *(f"1e{math.log10(each):.1f}" for each in (low, high)),
    ]


def _run(net: Weights, x: NDArray[np.float64]) -> tuple[NDArray[np.float64], list[float]]:
    """The answers, and the largest magnitude of what each layer reads."""
    read = []
    for place, (w, b) in enumerate(net):
        read.append(float(np.abs(x).max()))
        x = x @ w.T + b
        if place < len(net) - 1:
            x = np.maximum(x, 0)
    return x, read


if __name__ == "__main__":
    main()
