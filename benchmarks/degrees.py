"""What rounding activations does to the nodes of a graph, by how many neighbours they have.

    EDGEQ_DATA=DIR python -m benchmarks.degrees [--data cora] [--epochs 80] [--fine 15] [--seed 0]

Trains each network in FP32 and from there at 4W/4A, as the sweeps of Table 3 do, and prints the
error "4A -> 32A" of all states by node degree.
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from typing import TYPE_CHECKING

from benchmarks.support.command import run
from edgeq.data import load_graph
from edgeq.deploy import console
from edgeq.deploy.depth.graph import compare_graph
from edgeq.files import temporary_folder
from edgeq.training.graph.loop import train_graph
from edgeq.training.graph.recipe import GraphRecipe, GraphScheme
from edgeq.training.graph.rounding_stages import UNROUNDED
from edgeq.training.run.run_folder import BEST

if TYPE_CHECKING:
    from pathlib import Path

    from edgeq.results import DegreeError

NETWORKS = ("pde-gcn-64", "stable-pde-gcn-64")
COLUMNS = ("neighbours", "nodes", "MSE 4A -> 32A", "SQNR dB")


def _trained(recipe: GraphRecipe, fine: int, folder: Path) -> tuple[DegreeError, ...]:
    graph = load_graph(recipe.data)
    whole, short = folder / f"{recipe.model}-fp32", folder / f"{recipe.model}-4a"
    train_graph(recipe, graph, whole, threads=1)
    rounded = replace(
        recipe,
        scheme=GraphScheme(4, 4, bound=0),
        epochs=fine,
        lr=5e-3,
        lr_operators=1e-3,
        lr_bounds=2e-3,
    )
    train_graph(rounded, graph, short, start=whole / BEST, threads=1)
    hops = compare_graph([short], graph, "test").hops
    return next(hop.degrees for hop in hops if hop.source.endswith(f" @ {UNROUNDED}"))


def main() -> None:
    """Train, measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", default="cora")
    parser.add_argument("--epochs", type=int, default=80)
    parser.add_argument("--fine", type=int, default=15)
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args()
    with temporary_folder() as folder:
        for network in NETWORKS:
            recipe = GraphRecipe(
                network,
                asked.data,
                epochs=asked.epochs,
                patience=30,
                lr=0.05,
                lr_operators=1e-2,
                step_size=0.5,
                dropout=0.6,
                seed=asked.seed,
            )
            found = _trained(recipe, asked.fine, folder)
            rows = [each.cells for each in found]
            console.write_table(network, COLUMNS, rows, numbers=COLUMNS[1:])


if __name__ == "__main__":
    run(main)
