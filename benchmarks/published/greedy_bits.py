"""How few bits do weights and activations need: for the network, by layer, by neuron?

    python -m benchmarks.published.greedy_bits [--losses 0.5,1,2] [--trials 2000]

The sweeps of a lecture on quantising neural networks (IMT Atlantique): the SQNR of weights at each
width, then bits taken away greedily at a stated loss; from all weights and all activations at once,
from one layer after the other, from one neuron after the other. They are made on digits, with a
perceptron and a convolutional network that are trained here in seconds; ``edgeq search`` makes them
for any network. The lecture publishes the procedures and the rule of 6.02 dB a bit, and no table to
stand beside; its table of binary networks is
``benchmarks/tables/seed-002-binary.toml``.
"""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import nn

import edgeq
from benchmarks.support.command import run
from edgeq.data import load, normalize
from edgeq.machine import fingerprint

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from edgeq.deploy.search.result import SearchResult


EPOCHS, BATCH = 60, 128
GRAINS = ("network", "layer", "neuron")


def perceptron() -> nn.Sequential:
    """Three dense layers."""
    return nn.Sequential(
        nn.Flatten(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 10)
    )


def convolutional() -> nn.Sequential:
    """Two convolutions and a dense layer."""
    return nn.Sequential(
        nn.Conv2d(1, 16, 3, padding=1),
        nn.ReLU(),
        nn.Conv2d(16, 16, 3, stride=2, padding=1),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(256, 10),
    )


NETWORKS: dict[str, Callable[[], nn.Sequential]] = {
    "perceptron": perceptron,
    "convolutional": convolutional,
}


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--losses", default="0.5,1,2", help="points of accuracy, with commas")
    parser.add_argument("--trials", type=int, default=2000, help="for each search")
    given = parser.parse_args()
    losses = [float(part) for part in given.losses.split(",")]
    print(fingerprint().cpu)
    networks = {name: trained(make) for name, make in NETWORKS.items()}
    print("\n| network | layer | " + " | ".join(f"{bits} bits" for bits in range(2, 9)) + " |")
    print("|---|---|" + "---|" * 7)
    for name, network in networks.items():
        for layer, sqnrs in weights_sqnr(network).items():
            print(f"| {name} | {layer} | " + " | ".join(f"{each:.1f}" for each in sqnrs) + " |")
    print("\n| network | loss | by | weights, bits | activations, bits | bytes | 8 bits |", end="")
    print(" validation % | test % (95 %) | float, test % | tried |")
    print("|---|---|---|---|---|---|---|---|---|---|---|")
    for name, network in networks.items():
        for loss in losses:
            for grain in GRAINS:
                print(row(name, loss, grain, searched(network, loss, grain, given.trials)))


def trained(make: Callable[[], nn.Sequential]) -> nn.Sequential:
    """A network after some seconds of Adam, the same in every run on one machine."""
    torch.manual_seed(0)
    torch.set_num_threads(1)
    network, data = make(), load("digits")
    images = torch.from_numpy(normalize(data.train.images, data))
    labels = torch.from_numpy(data.train.class_labels)
    optimizer = torch.optim.Adam(network.parameters(), lr=3e-3)
    for _ in range(EPOCHS):
        for part in torch.randperm(len(images)).split(BATCH):
            optimizer.zero_grad()
            torch.autograd.backward(
                nn.functional.cross_entropy(network(images[part]), labels[part])
            )
            optimizer.step()
    return network.eval()


def weights_sqnr(network: nn.Sequential) -> dict[str, list[float]]:
    """The SQNR of each layer's weights at 2 to 8 bits, one symmetric scale an output channel."""
    found = {}
    for name, module in network.named_modules():
        if not isinstance(module, nn.Conv2d | nn.Linear):
            continue
        weight = module.weight.detach().double().numpy().reshape(len(module.weight), -1)
        found[name] = [sqnr_db(weight, bits) for bits in range(2, 9)]
    return found


def sqnr_db(weight: np.ndarray, bits: int) -> float:
    """Signal over quantisation noise."""
    scale = abs(weight).max(axis=1, keepdims=True) / (2 ** (bits - 1) - 1)
    noise = np.rint(weight / scale) * scale - weight
    return float(10 * np.log10((weight**2).sum() / (noise**2).sum()))


def searched(network: nn.Sequential, loss: float, grain: str, trials: int) -> SearchResult:
    """The least bits down to a grain."""
    from tempfile import TemporaryDirectory

    with TemporaryDirectory() as folder:
        return edgeq.search(
            network,
            "digits",
            f"{folder}/found.onnx",
            max_drop=loss,
            strategy=grain,
            trials=trials,
            samples=256,
            eval_samples=500,
        )


def row(name: str, loss: float, grain: str, found: SearchResult) -> str:
    """One line of the table."""
    best, eight = found.best, found.eight
    if best is None or eight is None or found.score is None or found.float_score is None:
        return f"| {name} | {loss:g} | {grain} | – | – | – | – | – | – | – | {len(found.trials)} |"
    sizes = {layer.name: layer for layer in found.layers}
    weights = sum(layer.weights for layer in found.layers)
    bits = sum(sizes[key].weights * each.mean_weight_bits for key, each in best.precisions.items())
    acts = mean([each.act_bits for each in best.precisions.values()])
    low, high = found.score.interval or (np.nan, np.nan)
    return (
        f"| {name} | {loss:g} | {grain} | {bits / weights:.2f} | {acts:.2f} | "
        f"{best.figures.cost:,.0f} | {eight.figures.cost:,.0f} | {best.figures.score:.2f} | "
        f"{100 * found.score.value:.2f} ({100 * low:.2f} to {100 * high:.2f}) | "
        f"{100 * found.float_score.value:.2f} | {len(found.trials)} |"
    )


def mean(values: Sequence[float]) -> float:
    """Their mean."""
    return sum(values) / len(values)


if __name__ == "__main__":
    run(main)
