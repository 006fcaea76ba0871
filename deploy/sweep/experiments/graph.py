"""Graph networks on citation graphs: what 4 bits cost, with an operator and its transpose or two.

Ben-Yair, Eliasof and Treister, *Quantized convolutional neural networks through the lens of partial
differential equations* (2022), Table 3: PDE-GCN_D with 32 layers. A network trains in FP32, and
from there at 4W/8A and 4W/4A. The epoch is the one of the lowest validation loss, where the
authors' code takes the one of the best test accuracy; that accuracy stands beside ours, for
comparison only.
"""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from edgeq.data import load_graph
from edgeq.deploy.sweep.experiments.parts import forget, percent
from edgeq.errors import UnknownName
from edgeq.models.stability.symmetric import step_margins
from edgeq.training.graph.checkpoint import load_network
from edgeq.training.graph.loop import features, train_graph
from edgeq.training.graph.quantization import graph_activation_error
from edgeq.training.graph.recipe import FLOAT, GraphRecipe, GraphScheme
from edgeq.training.run.run_folder import BEST

if TYPE_CHECKING:
    from edgeq.data import GraphData
    from edgeq.training.graph.records import GraphResult

VARIANTS = ("text", "released", "learnt-gradient")


def measure(
    network: str,
    data: str,
    seed: int,
    step_size: float = 0.5,
    variant: str = "text",
    dropout: float = 0.6,
    epochs: int = 300,
    patience: int = 100,
    fine_epochs: int = 15,
    widths: bool = True,
) -> dict[str, float]:
    """Train a graph network at three widths, and measure.

    Args:
        network: a name of the zoo.
        data: a graph's name.
        seed: of training.
        step_size: ``h``.
        variant: ``text`` quantises operators at 4 bits, and activations with a level at zero;
            ``released`` is the authors' code: operators in float, activations rounded up;
            ``learnt-gradient`` is as the first, and learns the weights of ``S`` too.
        dropout: a share.
        epochs: in FP32, at most.
        patience: epochs without a lower validation loss after which FP32 training stops.
        fine_epochs: at the other widths, from the weights in FP32.
        widths: whether there are other widths; without, only FP32 is trained.

    Returns:
        Accuracies in %, of the validation nodes too; MSE and Frobenius norms of rounding the
        states; of symmetric networks the greatest margin of the condition of a step.
    """
    if variant not in VARIANTS:
        raise UnknownName("variant", variant, VARIANTS)
    graph = load_graph(data)
    full = GraphRecipe(
        network,
        data,
        epochs=epochs,
        patience=patience,
        lr=0.05,
        lr_operators=1e-2,
        step_size=step_size,
        dropout=dropout,
        seed=seed,
        learn_gradient=variant == "learnt-gradient",
        track_test=True,
    )
    place = Path("fp32")
    result = train_graph(full, graph, place, threads=1, overwrite=True)
    found = _accuracies("fp32", result)
    found["epoch"] = result.best_epoch + 1
    found["validation_loss"] = min(epoch.validation_loss for epoch in result.history)
    found |= _margin("margin", place)
    for bits in (8, 4) if widths else ():
        scheme = GraphScheme(4, bits, bound=0)
        if variant == "released":
            scheme = GraphScheme(FLOAT, bits, "released", bound=0)
        recipe = replace(
            full,
            scheme=scheme,
            epochs=fine_epochs,
            lr=5e-3,
            lr_operators=1e-3,
            lr_bounds=2e-3,
        )
        run, name = Path(f"{bits}a"), f"4w{bits}a"
        result = train_graph(recipe, graph, run, start=place / BEST, threads=1, overwrite=True)
        found |= _accuracies(name, result) | _error(name, graph, run)
        found |= _margin(f"margin_{name}", run)
        forget(run)
    forget(place)
    return found


def _accuracies(name: str, result: GraphResult) -> dict[str, float]:
    best = 100 * (result.test_selected or 0.0)
    validation = 100 * result.validation
    right = percent(result.test_correct, result.test_total)
    return {name: right, f"{name}_best_test_epoch": best, f"{name}_validation": validation}


def _error(name: str, data: GraphData, run: Path) -> dict[str, float]:
    network, graph, _ = load_network(run / BEST)
    labels, test = torch.from_numpy(data.labels), torch.from_numpy(data.test)
    error = graph_activation_error(network, features(data), graph, labels, test)
    elements = sum(block.elements for block in error.blocks)
    found = {
        f"mse_{name}": error.mse,
        f"frobenius_{name}": math.sqrt(error.mse * elements),
        f"unrounded_{name}": 100 * error.accuracy_unrounded,
    }
    layers = enumerate(error.blocks, start=1)
    return found | {f"rmse_{name}/{place}": block.rmse for place, block in layers}


def _margin(name: str, run: Path) -> dict[str, float]:
    """The greatest of all steps; nothing for a network of two operators."""
    greatest = max(step.margin for step in step_margins(load_network(run / BEST)[0]))
    return {name: greatest} if math.isfinite(greatest) else {}
