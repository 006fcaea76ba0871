"""How much tighter the bound with the mean radius is than the one with the largest.

    python -m benchmarks.bounds [--weights FOLDER]

For each network, by what power of ten ``r_mean^{L-1}`` is below
``r_max^{L-1}`` in l-infinity, BatchNorm folded, beside what Houache, Aujol and Traonmilin (2025)
publish for networks trained on Tiny ImageNet. Ours are initialised, or trained on CIFAR-10 where
``FOLDER`` holds their weights. Fully connected networks of 5 to 11 layers are in
``benchmarks/tables/seed-001-depth.toml``.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import nn

from edgeq.bounding.layered import (
    LayerPair,
    improvement,
)
from edgeq.bounding.norms import row_sums
from edgeq.models import zoo
from edgeq.models.pretrained import load_npz_weights

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

PUBLISHED = {"resnet18": 8, "resnet50": 27, "mobilenetv2": 56}
NETWORKS = ("resnet18", "resnet50", "mobilenetv2", "resnet20-a", "resnet56-a", "vgg19-bn")


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


if __name__ == "__main__":
    main()
