"""Keeps the promise of a certified block when its layers become quantised ones."""

from __future__ import annotations

from torch import fx, nn

from edgeq.models.stability.symmetric import SymmetricBlock
from edgeq.training.layers import QuantLayer


def bounded_steps(model: nn.Module) -> dict[str, list[str]]:
    """Path of each block that promises a bound on its step, and the paths of the layers that are its ``K``."""
    blocks = {
        path: block
        for path, block in model.named_modules()
        if isinstance(block, SymmetricBlock) and block.certified
    }
    found: dict[str, list[str]] = {}
    for path, block in blocks.items():
        layers = {
            id(layer.weight): name
            for name, layer in block.named_modules()
            if isinstance(layer, nn.Conv2d)
        }
        found[path] = [f"{path}.{layers[id(kernel)]}".lstrip(".") for kernel in block.kernels()]
    return found


def pass_stability_bounds_on(graph_module: fx.GraphModule, steps: dict[str, list[str]]) -> None:
    """The blocks are gone from the graph.

    The last layer of each ``K``, which has the BatchNorm, keeps their promise.
    """
    for paths in steps.values():
        layers = [graph_module.get_submodule(path) for path in paths]
        *before, last = (layer for layer in layers if isinstance(layer, QuantLayer))
        gains = [
            other.gain
            for other in graph_module.modules()
            if isinstance(other, QuantLayer) and _adjoint_of(other, layers[0])
        ]
        last.enforce_bound(before, -gains[0])


def _adjoint_of(layer: QuantLayer, first: nn.Module) -> bool:
    return (
        isinstance(first, QuantLayer)
        and isinstance(layer.layer, nn.ConvTranspose2d)
        and layer.layer.weight is first.layer.weight
    )
