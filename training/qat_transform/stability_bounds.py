"""Keeps the steps of certified blocks from expanding once their layers are quantised."""

from __future__ import annotations

from typing import TYPE_CHECKING, Self

import torch
from torch import Tensor, fx, nn

from edgeq.errors import EdgeqError
from edgeq.models.stability.step_bound import margin, project
from edgeq.models.stability.symmetric import SymmetricBlock
from edgeq.training.layers import QuantLayer

if TYPE_CHECKING:
    from collections.abc import Sequence


class BoundedStep(nn.Module):
    """Keeps ``x - h K^T ReLU(bn(K x))`` from expanding, on the weights as they are quantised.

    A submodule of the last layer of ``K``, so that it hears of each change of the mode.

    Args:
        layers: the layers of ``K``, in order; the last one has the BatchNorm.
        step_size: ``h``.
    """

    certified = True

    def __init__(self, layers: Sequence[QuantLayer], step_size: float) -> None:
        super().__init__()
        bn = layers[-1].bn
        if not isinstance(bn, nn.BatchNorm2d):
            raise EdgeqError(
                "a step without BatchNorm behind K cannot be certified", hint="put one there"
            )
        self._layers, self._bn = tuple(layers), (bn,)  # tuples: none is a submodule of this one
        self.step_size = step_size

    def certify(self) -> None:
        """Scale the BatchNorm down until the step does not expand, with rounding and without."""
        for kernels in self._kernels():
            project(self._bn[0], kernels, self.step_size)

    def margin(self) -> float:
        """The max of ``h L ||K'||^2 / 2`` with and without rounding, from an upper bound."""
        return max(margin(self._bn[0], kernels, self.step_size) for kernels in self._kernels())

    def train(self, mode: bool = True) -> Self:
        """Set the mode; the bound is enforced before anything is evaluated."""
        super().train(mode)
        if not mode:
            self.certify()
        return self

    @torch.no_grad()
    def _kernels(self) -> list[list[Tensor]]:
        """The kernels of ``K``, rounded and not rounded."""
        clips = {layer.quantizer.clip: layer.quantizer.clip.rounding for layer in self._layers}
        found = []
        for rounding in (True, False):
            for clip in clips:
                clip.rounding = rounding
            found.append([layer.quantizer(layer.layer.weight) for layer in self._layers])
        for clip, rounding in clips.items():
            clip.rounding = rounding
        return found


def bounded_steps(model: nn.Module) -> dict[str, list[str]]:
    """The path of each block whose step is bounded, and the paths of the layers of its ``K``."""
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


def enforce_bounds(graph_module: fx.GraphModule, steps: dict[str, list[str]]) -> None:
    """Bound the steps of blocks that the graph has no modules for any more.

    Args:
        graph_module: the quantised network; the last layer of each ``K`` gets a bound.
        steps: what :func:`bounded_steps` found in the float network.
    """
    for paths in steps.values():
        found = [graph_module.get_submodule(path) for path in paths]
        layers = [layer for layer in found if isinstance(layer, QuantLayer)]
        gains = [
            other.gain
            for other in graph_module.modules()
            if isinstance(other, QuantLayer) and _adjoint_of(other, found[0])
        ]
        layers[-1].add_module("step_bound", BoundedStep(layers, -gains[0]))


def _adjoint_of(layer: QuantLayer, first: nn.Module) -> bool:
    return (
        isinstance(first, QuantLayer)
        and isinstance(layer.layer, nn.ConvTranspose2d)
        and layer.layer.weight is first.layer.weight
    )
