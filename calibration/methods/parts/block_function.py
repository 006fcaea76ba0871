"""A piece of a quantised graph in torch: a function of its weights and of the steps of its grids.

Rounding passes gradients as if it were not there, so the step of an activation's grid can be learnt
as LSQ does (Esser et al., *Learned step size quantization*, 2020, Eq. 3).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from edgeq.calibration._nodes import constant, name_of, output
from edgeq.calibration.methods.parts.blocks import is_quantization
from edgeq.calibration.methods.parts.quantized_layer import StoredConstant
from edgeq.calibration.methods.parts.run import is_stored
from edgeq.calibration.methods.parts.torch_operators import operator
from edgeq.quant import STORAGE_RANGE

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import onnx_ir as ir
    import torch

    from edgeq.calibration.methods.parts.blocks import Segment
    from edgeq.calibration.methods.parts.torch_operators import Operator

MOST_LAYERS = 8
_OWN_USES = 2  # by its own QuantizeLinear and DequantizeLinear
_TAKE_ANY_STEP = frozenset(("Conv", "ConvTranspose", "Gemm", "Add"))
_MAKE_ANY_STEP = frozenset((*_TAKE_ANY_STEP, "Relu", "Clip"))


class Grid(NamedTuple):
    """The grid of an activation.

    Attributes:
        scale: its step, an initialiser.
        zero_point: of its integers.
        low: the smallest integer.
        high: the largest.
        free: whether its step may change: nobody else has it, and all who read it take any step.
        readers: the nodes that read the tensor on it.
    """

    scale: ir.Value
    zero_point: int
    low: int
    high: int
    free: bool
    readers: tuple[ir.Node, ...]

    @property
    def step(self) -> float:
        """Its step in the graph."""
        return float(np.asarray(constant(self.scale)))


class _Step(NamedTuple):
    inputs: tuple[str, ...]
    output: str
    does: Operator | Grid


class BlockFunction:
    """A piece of a quantised graph as a function of what it reads.

    Attributes:
        grids: the grids of its activations by the name of their step.
    """

    def __init__(
        self,
        steps: Sequence[_Step],
        constants: Mapping[str, torch.Tensor],
        ends: tuple[str, str],
    ) -> None:
        self._steps, self._constants, self._ends = steps, constants, ends
        self.grids = {
            name_of(step.does.scale): step.does for step in steps if isinstance(step.does, Grid)
        }

    @classmethod
    def of(cls, segment: Segment, layers: Sequence[ir.Node]) -> BlockFunction | None:
        """The function of a segment; None for one that is not known in torch, or too large."""
        if segment.entry is None or segment.exit is None or len(layers) > MOST_LAYERS:
            return None
        computed = [node for node in segment.nodes if not is_stored(output(node))]
        made = [_grid(node) if is_quantization(node) else _computation(node) for node in computed]
        steps = [step for step in made if step is not None]
        if len(steps) < sum(not _is_inside_grid(node) for node in computed):
            return None
        read = {value for node in computed for value in node.inputs if value is not None}
        constants = {name_of(value): _stored(value) for value in read if is_stored(value)}
        return cls(steps, constants, (name_of(segment.entry), name_of(segment.exit)))

    def __call__(
        self,
        x: torch.Tensor,
        weights: Mapping[str, torch.Tensor],
        scales: Mapping[str, torch.Tensor | float],
        *,
        drop: float = 0.0,
        random: torch.Generator | None = None,
    ) -> torch.Tensor:
        """What the block makes of some samples.

        Args:
            x: what it reads, dequantised, (samples, ...).
            weights: of its layers, as in the graph, by the name of the tensor that a layer reads.
            scales: the steps of some grids, by their names; the others have those of the graph.
            drop: the share of activations that stay as they were before they were put on a grid.
            random: chooses them.
        """
        import torch

        known = {**self._constants, **weights, self._ends[0]: x}
        for step in self._steps:
            given = [known[name] for name in step.inputs]
            if isinstance(step.does, Grid):
                name = name_of(step.does.scale)
                scale = scales.get(name, step.does.step)
                rounded = _on_grid(given[0], scale, step.does)
                if drop:
                    in_float = torch.rand(rounded.shape, generator=random) < drop
                    rounded = torch.where(in_float, given[0], rounded)
                known[step.output] = rounded
            else:
                known[step.output] = step.does(*given)
        return known[self._ends[1]]


def _on_grid(x: torch.Tensor, scale: torch.Tensor | float, grid: Grid) -> torch.Tensor:
    ratio = x / scale
    steps = ratio + (ratio.round() - ratio).detach()
    return steps.clamp(grid.low - grid.zero_point, grid.high - grid.zero_point) * scale


def _is_inside_grid(node: ir.Node) -> bool:
    return is_quantization(node) and node.op_type != "DequantizeLinear"


def _grid(node: ir.Node) -> _Step | None:
    """The whole grid at the node that reads from it; None at the nodes before, and for others."""
    if _is_inside_grid(node):
        return None
    (before, scale, point), quantize = node.inputs[:3], node.inputs[0].producer()  # type: ignore[union-attr]
    zero = constant(point)
    if before is None or scale is None or zero is None or zero.ndim or quantize is None:
        return None
    low, high = STORAGE_RANGE[str(zero.dtype)]
    if quantize.op_type == "Clip":
        low, high = (int(np.asarray(constant(bound))) for bound in quantize.inputs[1:3])
        quantize = quantize.inputs[0].producer()  # type: ignore[union-attr]
    if quantize is None or quantize.op_type != "QuantizeLinear" or quantize.inputs[1] is not scale:
        return None
    source = quantize.inputs[0]
    if source is None:
        return None
    readers = tuple(reader for reader, _ in output(node).uses())
    grid = Grid(scale, int(zero), low, high, _is_free(node, source), readers)
    return _Step((name_of(source),), name_of(output(node)), grid)


def _is_free(dequantize: ir.Node, source: ir.Value) -> bool:
    scale, made, maker = dequantize.inputs[1], output(dequantize), source.producer()
    return (
        scale is not None
        and len(tuple(scale.uses())) == _OWN_USES
        and maker is not None
        and maker.op_type in _MAKE_ANY_STEP
        and not made.is_graph_output()
        and all(reader.op_type in _TAKE_ANY_STEP for reader, _ in made.uses())
    )


def _computation(node: ir.Node) -> _Step | None:
    does = operator(node)
    names = tuple(name_of(value) for value in node.inputs if value is not None)
    return None if does is None else _Step(names, name_of(output(node)), does)


def _stored(value: ir.Value) -> torch.Tensor:
    """A constant of the graph, dequantised where it is stored in integers."""
    import torch

    array = constant(value)
    return torch.from_numpy(
        StoredConstant(value).dequantized() if array is None else np.array(array)
    )
