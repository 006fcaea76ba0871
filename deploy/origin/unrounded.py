"""A quantised file as the float network of its own real numbers, and a float one in that form."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from edgeq.brief import brief
from edgeq.calibration.quantize import fold_onnx
from edgeq.diffing.rounding import FloatLayer
from edgeq.formats.quantizers import QUANTIZERS
from edgeq.qdq.nodes import MOVES, bounds_of, constant_of, grid_of, stripped, title

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping

    import onnx_ir as ir
    from numpy.typing import NDArray

    from edgeq.linting.model import LintModel

LAYERS = frozenset(("Conv", "ConvTranspose", "Gemm", "MatMul"))
_SMALL = 8
_NO_END = float(np.finfo(np.float32).max)
_PASSING = QUANTIZERS | {"Clip", *MOVES}


@dataclass(frozen=True, slots=True, eq=False)
class FloatNode:
    """An operator of a folded float network.

    Attributes:
        name: its name.
        op_type: what it is.
        inputs: the names of what it reads and is computed.
        outputs: the names of its results.
        attributes: those that say what it computes.
        constants: the small constants that it reads: places, axes and sizes.
        bounds: where it cuts values off; None where it does not.
        layer: its weights; None for none.
    """

    name: str
    op_type: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    attributes: Mapping[str, tuple[int | float | str, ...]]
    constants: tuple[tuple[float, ...], ...] = ()
    bounds: tuple[float, float] | None = None
    layer: FloatLayer | None = None

    __repr__ = brief


@dataclass(frozen=True, slots=True, eq=False)
class FloatNetwork:
    """A float network, all folded that can be.

    Attributes:
        inputs: the names of its inputs.
        nodes: in the order of execution.
    """

    inputs: tuple[str, ...]
    nodes: tuple[FloatNode, ...]

    __repr__ = brief

    def readers(self) -> dict[str, list[FloatNode]]:
        """Who reads each value."""
        found: dict[str, list[FloatNode]] = {}
        for node in self.nodes:
            for name in node.inputs:
                found.setdefault(name, []).append(node)
        return found


def network_of(model: ir.Model, dense: Collection[tuple[int, int]] = ()) -> FloatNetwork:
    """A float model as operators, all folded that can be.

    Args:
        model: the model; left as it is.
        dense: the sizes of layers whose MatMul and Add are to be one Gemm: outputs, and weights.

    Raises:
        ArtefactError: it cannot be brought to that form.
    """
    folded = fold_onnx(model)
    nodes = (_node(node) for node in folded.graph if constant_of(node.outputs[0]) is None)
    found = {node.outputs[0]: node for node in nodes}
    for product, node in list(_biased(folded.graph, dense)):
        del found[product]
        found[node.outputs[0]] = node
    return FloatNetwork(
        tuple(value.name or "" for value in folded.graph.inputs if value.const_value is None),
        tuple(found.values()),
    )


def layers_as_network(view: LintModel) -> FloatNetwork:
    """The layers of a file in the real numbers that their integers stand for, and nothing else."""
    return FloatNetwork((), tuple(_layers_of(view)))


def _layers_of(view: LintModel) -> Iterator[FloatNode]:
    for each in view.layers:
        if each.weights is None or each.weight_grid is None:
            continue
        scale = np.atleast_1d(each.weight_grid.scale).astype(np.float64)
        wide = scale.reshape(-1, *[1] * (each.weights.ndim - 1))
        bias: NDArray[np.float64] = np.zeros(len(each.weights))
        if each.bias is not None and each.bias_grid is not None:
            bias = each.bias.astype(np.float64) * np.atleast_1d(each.bias_grid.scale)
        layer = FloatLayer(each.node, each.weights * wide, bias)
        yield FloatNode(each.node, each.op_type, (), (each.node,), {}, layer=layer)


def clipped(model: ir.Model) -> ir.Model:
    """A QDQ model that cuts its activations off at the ends of their grids and rounds none.

    Weights and biases are the real numbers that their integers stand for. The tensors keep the
    names of the integers.
    """
    copy = model.clone()
    for node in list(copy.graph):
        if node.op_type == "QuantizeLinear" and constant_of(node.inputs[0]) is None:
            _cut_off(copy.graph, node)
    return _without_quantizers(copy)


def rectified(model: ir.Model, ends: Collection[float]) -> ir.Model:
    """A QDQ model that rounds nothing, with the activations that its grids stand for.

    Quantisers drop a ReLU where the grid begins at zero, and a Clip where it ends there too.

    Args:
        model: the model; left as it is.
        ends: where a Clip may cut off at the top.
    """
    copy = model.clone()
    for node in list(copy.graph):
        source = node.inputs[0] if node.op_type == "QuantizeLinear" else None
        if source is None or constant_of(source) is not None or source.is_graph_input():
            continue
        grid = grid_of(node)
        if grid.axis is None and int(grid.zero_point) == grid.qmin:
            step = float(grid.scale)
            last = step * (grid.qmax - grid.qmin)
            high = min((end for end in ends if end + step >= last), default=_NO_END)
            _cut_off(copy.graph, node, (0.0, high))
    return _without_quantizers(copy)


def unrounded(model: ir.Model) -> ir.Model:
    """A QDQ model without its quantisers, with the real numbers that its integers stand for."""
    return _without_quantizers(model.clone())


def _without_quantizers(copy: ir.Model) -> ir.Model:
    for node in list(copy.graph):
        if node.op_type == "DequantizeLinear" and constant_of(node.inputs[0]) is not None:
            _store(copy.graph, node)
        elif node.op_type in QUANTIZERS or _clips_integers(node):
            _pass(copy.graph, node)
    for node in copy.graph:  # movers of integers move real numbers now
        for value in node.outputs:
            value.type = None
    return copy


def _cut_off(graph: ir.Graph, node: ir.Node, ends: tuple[float, float] | None = None) -> None:
    """Put the ends of a quantiser's grid, or others, in front of it, as a Clip of real numbers."""
    import onnx_ir as ir

    source = node.inputs[0]
    grid = grid_of(node)
    if source is None or grid.axis is not None:
        return
    stored, low, high = node.outputs[0], grid.qmin, grid.qmax
    for reader in stored.consumers():
        if _clips_integers(reader):
            stored = reader.outputs[0]
            cut = bounds_of(reader)
            low, high = int(max(low, cut[0])), int(min(high, cut[1]))
    name, zero, scale = stripped(stored.name or ""), int(grid.zero_point), float(grid.scale)
    bounds = []
    first, last = ends or (scale * (low - zero), scale * (high - zero))
    for kind, end in (("low", first), ("high", last)):
        value = ir.Value(name=f"{name}_{kind}")
        value.const_value = ir.tensor(np.float32(end), name=value.name)
        value.shape, value.type = ir.Shape(()), ir.TensorType(ir.DataType.FLOAT)
        graph.initializers[value.name or ""] = value
        bounds.append(value)
    if source.is_graph_input() or name in {each.name for each in graph.outputs}:
        name = f"{name}_clipped"
    elif source.name == name:
        source.name = f"{name}_unclipped"
    made = ir.node("Clip", [source, *bounds])
    made.outputs[0].name = name
    graph.insert_before(node, made)
    node.replace_input_with(0, made.outputs[0])


def _store(graph: ir.Graph, node: ir.Node) -> None:
    import onnx_ir as ir

    integers = constant_of(node.inputs[0])
    if integers is None:
        return
    grid = grid_of(node)
    scale, zero = grid.broadcast(integers.ndim)
    real = ((integers.astype(np.float64) - zero) * scale).astype(np.float32)
    name = node.outputs[0].name or ""
    value = ir.Value(name=name, const_value=ir.tensor(real, name=name))
    value.shape, value.type = ir.Shape(real.shape), ir.TensorType(ir.DataType.FLOAT)
    node.outputs[0].replace_all_uses_with(value, replace_graph_outputs=True)
    graph.remove(node, safe=True)
    graph.initializers[name] = value


def _pass(graph: ir.Graph, node: ir.Node) -> None:
    """Let readers of a node read its input."""
    import onnx_ir as ir

    source, made = node.inputs[0], node.outputs[0]
    if source is None:
        return
    if made.is_graph_output():
        name = made.name
        kept = ir.node("Identity", [source])
        graph.insert_before(node, kept)
        made.replace_all_uses_with(kept.outputs[0], replace_graph_outputs=True)
        graph.remove(node, safe=True)
        kept.outputs[0].name = name
        kept.outputs[0].type = ir.TensorType(ir.DataType.FLOAT)
        return
    made.replace_all_uses_with(source)
    graph.remove(node, safe=True)


def levels_of(quantizer: ir.Node) -> int:
    """How many levels a quantiser's values can have, by the Clips behind it and before it.

    Few bits are another choice than a grid that is too coarse: 16 levels reach as far as 256 that
    are 16 times finer.
    """
    grid = grid_of(quantizer)
    levels = grid.qmax - grid.qmin + 1
    for clip in _integer_clips(quantizer):
        low, high = bounds_of(clip)
        levels = min(levels, int(high - low) + 1)
    return levels


def _integer_clips(quantizer: ir.Node) -> Iterator[ir.Node]:
    """What cuts a quantiser's integers off: behind it, and before it on the same grid."""
    yield from (each for each in quantizer.outputs[0].consumers() if _clips_integers(each))
    scale, node = grid_of(quantizer).scale, quantizer
    while node.op_type in _PASSING:
        if node.op_type in QUANTIZERS and not np.array_equal(grid_of(node).scale, scale):
            return
        if _clips_integers(node):
            yield node
            return
        maker = None if node.inputs[0] is None else node.inputs[0].producer()
        if maker is None:
            return
        node = maker


def _clips_integers(node: ir.Node) -> bool:
    bound = constant_of(node.inputs[1]) if len(node.inputs) > 1 else None
    return node.op_type == "Clip" and bound is not None and bound.dtype.kind in "iu"


def _node(node: ir.Node) -> FloatNode:
    read = tuple(
        value.name or ""
        for value in node.inputs
        if value is not None and constant_of(value) is None
    )
    return FloatNode(
        title(node),
        node.op_type,
        read,
        tuple(value.name or "" for value in node.outputs),
        dict(_attributes(node)),
        tuple(
            tuple(float(each) for each in numbers.reshape(-1))
            for value in node.inputs
            if (numbers := constant_of(value)) is not None and numbers.size <= _SMALL
        ),
        bounds_of(node) if node.op_type in ("Relu", "Clip") else None,
        _layer(node),
    )


def _biased(graph: ir.Graph, dense: Collection[tuple[int, int]]) -> Iterator[tuple[str, FloatNode]]:
    """Each MatMul of some sizes with the Add of its bias as one Gemm; the product's name first."""
    for node in graph:
        layer = _layer(node) if dense and node.op_type == "MatMul" else None
        if layer is None or layer.size not in dense:
            continue
        readers = list(node.outputs[0].consumers())
        if len(readers) != 1 or readers[0].op_type != "Add":
            continue
        added = [each for value in readers[0].inputs if (each := constant_of(value)) is not None]
        if len(added) != 1 or added[0].ndim != 1 or len(added[0]) != len(layer.weights):
            continue
        biased = FloatLayer(layer.node, layer.weights, added[0].astype(np.float64))
        made, merged = _node(node), _node(readers[0])
        yield made.outputs[0], replace(made, op_type="Gemm", outputs=merged.outputs, layer=biased)


def _attributes(node: ir.Node) -> Iterator[tuple[str, tuple[int | float | str, ...]]]:
    import onnx_ir as ir

    for name, each in node.attributes.items():
        if each.type == ir.AttributeType.INTS:
            yield name, tuple(each.as_ints())
        elif each.type == ir.AttributeType.INT:
            yield name, (_counted(node, each.as_int()) if name == "axis" else each.as_int(),)
        elif each.type == ir.AttributeType.FLOAT:
            yield name, (each.as_float(),)
        elif each.type == ir.AttributeType.STRING:
            yield name, (each.as_string(),)


def _counted(node: ir.Node, axis: int) -> int:
    """An axis counted from the first one, where the rank is known."""
    value = node.inputs[0] if node.inputs else None
    rank = None if value is None or value.shape is None else value.shape.rank()
    return axis % rank if rank else axis


def _layer(node: ir.Node) -> FloatLayer | None:
    weights = constant_of(node.inputs[1]) if len(node.inputs) > 1 else None
    if node.op_type not in LAYERS or weights is None or weights.ndim < 2:
        return None
    real = weights.astype(np.float64)
    if node.op_type == "ConvTranspose":  # the canonical form has no groups
        real = real.swapaxes(0, 1)
    elif node.op_type == "MatMul":
        real = np.moveaxis(real, -1, 0)
    stored = constant_of(node.inputs[2]) if len(node.inputs) > 2 else None
    bias: NDArray[np.float64] = (
        np.zeros(len(real))
        if stored is None
        else np.broadcast_to(stored.astype(np.float64).reshape(-1), len(real))
    )
    return FloatLayer(title(node), real, bias)
