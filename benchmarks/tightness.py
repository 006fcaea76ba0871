"""How far the bound of a certificate is above what is measured, block by block.

    python -m benchmarks.tightness --folder OUT [--networks A,B] [--epochs 12] [--samples 32]
        [--plot FILE.svg]

Plain, two-BatchNorm stable and certified networks of nine blocks are trained on the digits at
8W/8A. The deployed integers of each are held against the same network clipped alike, kernels that
round to nearest: what is left is the rounding of activations and biases, in l2. A bound cannot
leave the range of its grids, and where it reaches that it says nothing.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from benchmarks.support.command import run
from edgeq.data import batches, load
from edgeq.deploy.bounds.drift.onnx_graph import of_qdq
from edgeq.deploy.bounds.drift.propagate import Propagation
from edgeq.deploy.bounds.drift.signal import Rules, l2
from edgeq.deploy.depth.blocks import blocks_of
from edgeq.deploy.pipeline.export import canonical
from edgeq.deploy.sweep.plot import Panel, write_plot
from edgeq.qdq.reader import read_qdq
from edgeq.training.recipes.recipe import Recipe
from edgeq.training.recipes.scheme import Scheme
from edgeq.training.run.loop import train
from edgeq.training.run.run_folder import BEST

if TYPE_CHECKING:
    from edgeq.data import DataSource
    from edgeq.qdq.ir import QdqTensor

NETWORKS = ("resnet20-a", "stable-resnet20", "stable-resnet20-certified")
RATES = {"stable-resnet20-certified": 0.3}
EIGHT = Scheme(8, 8)
COLUMNS = ("bound / measured", "of the range", "expands by")


def main() -> None:
    """Train what is missing, print the table and write the plot."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--networks", default=",".join(NETWORKS))
    parser.add_argument("--epochs", type=int, default=12)
    parser.add_argument("--samples", type=int, default=32)
    parser.add_argument("--plot", type=Path)
    asked = parser.parse_args()
    source, series = load("digits"), {}
    columns = ("network", "block", "bound, l2", "measured, l2", *COLUMNS)
    print(f"| {' | '.join(columns)} |\n|{'---|' * len(columns)}", flush=True)
    for network in asked.networks.split(","):
        place = asked.folder / f"{network}-{asked.epochs}"
        rate = RATES.get(network, 0.1)
        recipe = Recipe(network, "digits", EIGHT, epochs=asked.epochs, lr=rate, batch_size=64)
        train(recipe, source, place, resume=True, threads=1)
        series[network] = _blocks(network, place / BEST, source, asked.samples)
    if asked.plot is not None:
        title = "how far the bound is above the measured error"
        panel = Panel(title, "block", "bound / measured, l2", series, log=True)
        write_plot(asked.plot, [panel])


def _blocks(
    network: str, checkpoint: Path, source: DataSource, samples: int
) -> list[tuple[float, float]]:
    """Print a row for each block; the bound over the measured error of each."""
    model = canonical(checkpoint)
    propagation = Propagation(of_qdq(read_qdq(model)))
    graph = propagation.graph
    (images, _), *_ = batches(source.test, source, samples)
    inputs = {graph.inputs[0].name: torch.from_numpy(images).double()[:, None]}
    signals = propagation.run(inputs, Rules(kernel_lsb=0.0, clipped=True))
    tensors, points = graph.tensors(), []
    for place, name in enumerate((*blocks_of(model), graph.output.name), start=1):
        signal = signals[name]
        if signal.rounded is None or signal.reference is None:
            raise ValueError(f"nothing is known of {name}")
        apart = l2(signal.rounded - signal.reference)
        ratio = float((signal.norm / apart).median())
        whole = float((signal.norm / _range(tensors[name])).median())
        expands = propagation.steps.get(name, ("", "", float("nan")))[2]
        print(
            f"| {network} | {place if name != graph.output.name else 'logits'} "
            f"| {float(signal.norm.median()):.3g} | {float(apart.median()):.3g} | {ratio:.3g} "
            f"| {100 * whole:.2g} % | {'–' if expands != expands else f'{expands:.3g}'} |",
            flush=True,
        )
        points.append((float(place), ratio))
    return points


def _range(tensor: QdqTensor) -> float:
    """The l2 distance of the two ends of a tensor's grid."""
    elements = torch.Size(tensor.shape).numel()
    return float((tensor.high - tensor.low) * float(tensor.scale) * elements**0.5)


if __name__ == "__main__":
    run(main)
