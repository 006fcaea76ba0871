"""Fully connected networks of growing depth: bits that bounds ask for, and bits that are enough.

Gonon et al., *Approximation speed of quantized versus unquantized ReLU neural networks and beyond*
(2022): the bits that keep an error grow in proportion to the depth. Houache, Aujol and Traonmilin
(2025): a mean radius ``r_mean`` in place of the largest one, on networks of 5 to 11 layers. A
network trains in FP32; then the weights of each layer are rounded to nearest with one step, at 2 to
8 bits. Norms are in l-infinity.
"""

from __future__ import annotations

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
from edgeq.deploy.sweep.experiments.parts import forget, percent, reduced
from edgeq.errors import UsageError
from edgeq.training.checkpoint import load_model
from edgeq.training.recipes.optimization import Optimizer
from edgeq.training.recipes.recipe import Recipe
from edgeq.training.run.loop import train
from edgeq.training.run.run_folder import BEST

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from edgeq.data import DataSource

    Array = NDArray[np.float64]
    Weights = list[tuple[Array, Array]]

WIDTHS = range(2, 13)
PROMISED = 0.01
"""The error that the bits of a bound promise."""
LOSS = 1.0
"""Points of accuracy that bits may lose to be enough."""


def measure(
    network: str, data: str, seed: int, epochs: int = 30, images: int = 0
) -> dict[str, float]:
    """Train a network, round its weights, and compare errors and bits with bounds.

    Args:
        network: one of the ``mlp`` networks of the zoo without BatchNorm.
        data: a data set of images.
        seed: of training.
        epochs: of training.
        images: training images; 0 for all.

    Returns:
        Accuracies in %; powers of ten of the error at 8 bits and of the bounds above it; bits.
    """
    source = reduced(load(data), images, 0, 0)
    run = Path("run")
    recipe = Recipe(
        network,
        data,
        epochs=epochs,
        lr=1e-3,
        weight_decay=0.0,
        seed=seed,
        optimizer=Optimizer("adam"),
        augmentation="none",
    )
    result = train(recipe, source, run, overwrite=True, threads=1)
    weights = _layers(load_model(run / BEST).module)
    forget(run)
    full = percent(result.test_correct, result.test_total)
    x = _flat(source)
    labels = source.test.class_labels
    found = {"fp32": full}
    enough = WIDTHS[-1]
    for bits in reversed(WIDTHS):
        answers = _run(_rounded(weights, bits), x)[0].argmax(axis=1)
        found[f"accuracy/{bits}"] = percent(int((answers == labels).sum()), len(labels))
        if found[f"accuracy/{bits}"] < full - LOSS:
            break
        enough = bits
    return found | {"bits_enough": enough} | _bounds(weights, x)


def _layers(model: nn.Module) -> Weights:
    layers = [each for each in model.modules() if isinstance(each, nn.Linear)]
    if not layers or any(isinstance(each, nn.BatchNorm1d) for each in model.modules()):
        raise UsageError(
            "the experiment depth knows fully connected networks without BatchNorm",
            hint="choose mlp5, mlp7, mlp9 or mlp11",
        )
    with torch.no_grad():
        return [(each.weight.double().numpy(), each.bias.double().numpy()) for each in layers]


def _flat(source: DataSource) -> Array:
    images = normalize(source.test.images[:], source)
    return images.reshape(len(images), -1).astype(np.float64)


def _steps(weights: Weights, bits: int) -> list[float]:
    return [float(np.abs(w).max()) / (2 ** (bits - 1) - 1) for w, _ in weights]


def _rounded(weights: Weights, bits: int) -> Weights:
    steps = _steps(weights, bits)
    return [(np.rint(w / s) * s, b) for (w, b), s in zip(weights, steps, strict=True)]


def _bounds(first: Weights, x: Array) -> dict[str, float]:
    """At 8 bits of weights: the largest error, and what is provable of it."""
    second = _rounded(first, 8)
    one, (other, hidden) = _run(first, x)[0], _run(second, x)
    layers = [_pair(w, v, b) for (w, b), (v, _) in zip(first, second, strict=True)]
    size, most = float(np.abs(x).max()), max(_steps(first, 8)) / 2
    low, high = lipschitz_in_parameters(layers, size)
    bounds = {
        "error": float(np.abs(one - other).max()),
        "b1_measured": telescoping(layers, size, hidden),
        "b1": telescoping(layers, size),
        "b3_r_mean": geometric(layers, size, most),
        "b4_r_max": maximal(layers, size, most),
        "k_least": low,
        "k_most": high,
    }
    return {
        **{f"log10_{name}": math.log10(each) for name, each in bounds.items()},
        "power_of_ten": improvement(layers),
        "bits_by_b4": bits_needed(
            layers, size, PROMISED, max(float(abs(w).max()) for w, _ in first)
        ),
    }


def _pair(w: Array, other: Array, b: Array) -> LayerPair:
    """In l-infinity, with the bias as a column of its own."""
    norm, its, apart = (float(row_sums(each).max()) for each in (w, other, w - other))
    bias = float(np.abs(b).max())
    return LayerPair(norm, its, apart, bias, bias, inputs=int(w.shape[1]))


def _run(net: Weights, x: Array) -> tuple[Array, list[float]]:
    """The answers, and the largest magnitude of what each layer reads."""
    read = []
    for place, (w, b) in enumerate(net):
        read.append(float(np.abs(x).max()))
        x = x @ w.T + b
        if place < len(net) - 1:
            x = np.maximum(x, 0)
    return x, read
