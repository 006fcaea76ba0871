"""Writes grids and integers into a float graph: QuantizeLinear and DequantizeLinear pairs in the canonical form.

A float tensor ``t`` is ``t_quantized`` as integers and ``t_dequantized`` after; where the range is narrower than its
carrier an integer Clip stands between, and what goes into it is ``t_unclipped``. What is quantised on one edge only is
``<t>_to_<reader>``. The tensors of one grid share its scale and zero point. Outputs of the graph keep their names.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import onnx_ir as ir

from edgeq.calibration._nodes import LAYERS, constant, name_of, output
from edgeq.calibration.graph import upper_bound
from edgeq.calibration.grids import affine_parameters, integer_parameters
from edgeq.calibration.layers import replace
from edgeq.saturation import pair_limit

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from edgeq.placement import Op, Placement
    from edgeq.quant import QuantizedTensor, QuantParams


def insert(
    graph: ir.Graph,
    ops: tuple[Op, ...],
    placement: Placement,
    grids: Mapping[str, QuantParams],
    *,
    per_channel: bool,
    affine: bool = False,
    pair_safe: bool = False,
) -> None:
    """Turn a float graph into a QDQ graph, in place.

    Args:
        graph: the graph that ``ops`` were read from.
        ops: its operators.
        placement: where grids stand.
        grids: the grid of each quantiser of ``placement``.
        per_channel: whether each output channel of a layer has its own weight scale.
        affine: one scale and zero point for the weights of a layer, whatever ``per_channel`` says.
        pair_safe: whether weight scales grow until no pair of products can saturate on x86 without VNNI.
    """
    _Inserter(graph, ops, placement, grids, per_channel, affine, pair_safe).run()


class _Inserter:
    def __init__(
        self,
        graph: ir.Graph,
        ops: tuple[Op, ...],
        placement: Placement,
        grids: Mapping[str, QuantParams],
        per_channel: bool,
        affine: bool,
        pair_safe: bool,
    ) -> None:
        self.graph, self.ops, self.placement, self.grids = graph, ops, placement, grids
        self.per_channel, self.affine, self.pair_safe = per_channel, affine, pair_safe
        self.behind = dict(placement.tensors)  # tensor -> the grid it lies on; views join in as they are met

    def run(self) -> None:
        nodes = {name_of(output(node)): node for node in self.graph}
        for op in self.ops:
            if op.kind == "input":
                self._store(self.graph.inputs[0], op.name, moved=False)
                continue
            node = nodes[op.name]
            self._requantize_inputs(op, node)
            if node.op_type in LAYERS:
                self._store_parameters(op, node)
            if op.kind == "relu":
                node = self._without_bound(op, node)
            if op.kind == "view":
                self.behind[op.name] = self.behind[op.inputs[0]]
            if op.name in self.behind:
                self._store(output(node), op.name, moved=op.kind == "view")

    def _store(self, value: ir.Value, name: str, *, moved: bool) -> None:
        """Put a tensor onto its grid for all who read it."""
        readers = tuple(value.uses())
        result = self._pair(value, name, self.behind[name], clip=not moved)
        for reader, index in readers:
            reader.replace_input_with(index, result)
        for index, promised in enumerate(self.graph.outputs):
            if promised is value:
                self.graph.outputs[index] = result
                result.shape = value.shape
                value.name, result.name = f"{name}_float", name

    def _requantize_inputs(self, op: Op, node: ir.Node) -> None:
        for index, tensor in enumerate(op.inputs):
            grid = self.placement.edges.get((op.name, index))
            source = node.inputs[index]
            if grid is not None and source is not None:
                node.replace_input_with(index, self._pair(source, f"{tensor}_to_{op.name}", grid, clip=True))

    def _pair(self, value: ir.Value, name: str, grid: str, *, clip: bool) -> ir.Value:
        params = self.grids[grid]
        scale, zero_point = self._grid(grid, params)
        narrow = clip and params.narrow
        steps = [("QuantizeLinear", [scale, zero_point], "unclipped" if narrow else "quantized")]
        if narrow:
            ends = (("qmin", params.qmin), ("qmax", params.qmax))
            steps.append(("Clip", [self._constant(f"{grid}_{end}", np.array(limit, params.dtype)) for end, limit in ends], "quantized"))
        steps.append(("DequantizeLinear", [scale, zero_point], "dequantized"))
        place, result = value.producer(), value
        for op_type, parameters, suffix in steps:
            node = ir.node(op_type, [result, *parameters], name=f"{name}/{op_type}")
            result = output(node)
            result.name, result.shape = f"{name}_{suffix}", value.shape
            result.type = ir.TensorType(ir.DataType.FLOAT if suffix == "dequantized" else ir.DataType[params.dtype.upper()])
            self._insert_behind(place, node)
            place = node
        return result

    def _insert_behind(self, place: ir.Node | None, node: ir.Node) -> None:
        if place is None:
            self.graph.insert_before(self.graph[0], node)
        else:
            self.graph.insert_after(place, node)

    def _store_parameters(self, op: Op, node: ir.Node) -> None:
        grid = self.placement.edges.get((op.name, 0)) or self.behind[op.inputs[0]]
        weight, bias = _float(node, 1), _float(node, 2) if len(node.inputs) > 2 else None
        bits, scale, layer = self.placement.layers[op.name], self.grids[grid].scale, node.name or op.name
        if self.affine:
            integers = affine_parameters(weight, bias, scale, bits=bits, layer=layer)
        else:
            limit = pair_limit(self.grids[grid].qmax) if self.pair_safe and not _without_pairs(node, weight) else None
            integers = integer_parameters(weight, bias, scale, bits=bits, per_channel=self.per_channel, layer=layer, pair_limit=limit)
        node.replace_input_with(1, self._dequantized(node, f"{node.name}.weight", integers.weight))
        if integers.bias is not None:
            node.replace_input_with(2, self._dequantized(node, f"{node.name}.bias", integers.bias))

    def _dequantized(self, node: ir.Node, name: str, tensor: QuantizedTensor) -> ir.Value:
        stored = self._constant(f"{name}_quantized", tensor.values)
        attributes = {} if tensor.params.axis is None else {"axis": tensor.params.axis}
        reader = ir.node("DequantizeLinear", [stored, *self._grid(name, tensor.params)], attributes, name=f"{name}/DequantizeLinear")
        result = output(reader)
        result.name, result.type, result.shape = f"{name}_dequantized", ir.TensorType(ir.DataType.FLOAT), ir.Shape(tensor.values.shape)
        self.graph.insert_before(node, reader)
        return result

    def _without_bound(self, op: Op, node: ir.Node) -> ir.Node:
        """Where the grid ends at or below the upper bound of a Clip, saturation is that bound, and Relu is enough."""
        params = self.grids[self.behind[op.name]]
        steps = np.rint(np.float32(upper_bound(node)) / params.scale) + params.zero_point
        if node.op_type == "Relu" or steps < params.qmax:
            return node
        return replace(self.graph, node, "Relu", [node.inputs[0]], {})

    def _grid(self, stem: str, params: QuantParams) -> tuple[ir.Value, ir.Value]:
        return self._constant(f"{stem}_scale", params.scale), self._constant(f"{stem}_zero_point", params.zero_point.astype(params.dtype))

    def _constant(self, name: str, array: NDArray[np.generic]) -> ir.Value:
        """An initialiser; the same name again is the same initialiser."""
        if name not in self.graph.initializers:
            tensor = ir.tensor(np.ascontiguousarray(array).reshape(array.shape), name=name)
            self.graph.register_initializer(ir.val(name, const_value=tensor))
        return self.graph.initializers[name]


def _without_pairs(node: ir.Node, weight: NDArray[np.float32]) -> bool:
    """Whether kernels compute a layer without adding pairs of products: depthwise and transposed convolutions."""
    group = node.attributes["group"].as_int() if "group" in node.attributes else 1
    return node.op_type == "ConvTranspose" or (node.op_type == "Conv" and weight.shape[1] == 1 and group == len(weight))


def _float(node: ir.Node, index: int) -> NDArray[np.float32]:
    array = constant(node.inputs[index])
    if array is None:  # canonical_layers has made it a constant: a mistake of ours
        raise ValueError(f"{node.op_type} {node.name} has no constant input {index}")
    return array.astype(np.float32)
