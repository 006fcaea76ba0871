"""Keeps the steps of certified blocks from expanding once their layers are quantised."""

from __future__ import annotations

from typing import TYPE_CHECKING, Self

from torch import Tensor, fx, nn

from edgeq.errors import EdgeqError
from edgeq.models.stability.step_bound import StepNorm, margin
from edgeq.models.stability.symmetric import SymmetricBlock
from edgeq.training.layers import QuantLayer

if TYPE_CHECKING:
    from collections.abc import Sequence


class BoundedStep(nn.Module):
    """Knows the margin of ``x - h K^T ReLU(bn(K x))`` on the weights as they are quantised.

    A submodule of the last layer of ``K``, so that it hears of each change of the mode.

    Args:
        layers: the layers of ``K``, in order; the last one has the BatchNorm.
        step_size: ``h``.
        second: the BatchNorm behind ``K^T``, if there is one.
    """

    def __init__(
        self, layers: Sequence[QuantLayer], step_size: float, second: nn.BatchNorm2d | None
    ) -> None:
        super().__init__()
        bn = layers[-1].bn
        if not isinstance(bn, nn.BatchNorm2d):
            raise EdgeqError("a step without BatchNorm behind K is unknown", hint="put one there")
        self.certified = isinstance(bn, StepNorm)
        if isinstance(bn, StepNorm):
            bn.bound_by(self._kernels)
        # tuples: none is a submodule of this one
        self._layers, self._bn, self._second = tuple(layers), (bn,), (second,)
        self.step_size = step_size

    def certify(self) -> None:
        """Make the scales of the present weights, with rounding and without."""
        for bn in self._bn:
            if isinstance(bn, StepNorm):
                bn.certify()

    def margin(self) -> float:
        """The max of ``h L ||K'||^2 / 2`` with and without rounding, from an upper bound."""
        return max(
            margin(self._bn[0], kernels, self.step_size, self._second[0])
            for kernels in self._kernels()
        )

    def train(self, mode: bool = True) -> Self:
        """Set the mode; scales are made before anything is evaluated."""
        super().train(mode)
        if not mode and self.certified:
            self.certify()
        return self

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
    """The path of each symmetric block, and the paths of the layers of its ``K``."""
    blocks = {
        path: block for path, block in model.named_modules() if isinstance(block, SymmetricBlock)
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


def add_bounds(graph_module: fx.GraphModule, steps: dict[str, list[str]]) -> None:
    """Put a :class:`BoundedStep` where a block was that the graph has no module for any more.

    Args:
        graph_module: the quantised network; the last layer of each ``K`` gets one.
        steps: what :func:`bounded_steps` found in the float network.
    """
    for paths in steps.values():
        found = [graph_module.get_submodule(path) for path in paths]
        layers = [layer for layer in found if isinstance(layer, QuantLayer)]
        adjoints = [
            other
            for other in graph_module.modules()
            if isinstance(other, QuantLayer) and layers and _adjoint_of(other, layers[0])
        ]
        if len(layers) < len(found) or not adjoints:
            continue  # the scheme leaves a part of the step in float
        adjoint = adjoints[0]
        second = adjoint.bn if isinstance(adjoint.bn, nn.BatchNorm2d) else None
        layers[-1].add_module("step_bound", BoundedStep(layers, -adjoint.gain, second))


def _adjoint_of(layer: QuantLayer, first: nn.Module) -> bool:
    return (
        isinstance(first, QuantLayer)
        and isinstance(layer.layer, nn.ConvTranspose2d)
        and layer.layer.weight is first.layer.weight
    )
