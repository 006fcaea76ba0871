"""Writes grids and integers into a float graph, in the form of :mod:`edgeq.formats.qdq_pair`.

What is quantised on one edge only is ``<t>_to_<reader>``. Outputs of the graph keep their names.
Where a tensor of the model has such a name already, a number is put behind it.
"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx_ir as ir

from edgeq.calibration._nodes import LAYERS, channel_axis, constant, is_helper, name_of, output
from edgeq.calibration.graph import lower_bound, upper_bound
from edgeq.calibration.grids import constant_grid
from edgeq.calibration.layer_parameters import quantize_layer
from edgeq.calibration.normal_form.layers import replace
from edgeq.calibration.weight_methods import symmetric
from edgeq.calibration.weight_methods.layer import FloatLayer
from edgeq.formats.qdq_pair import grid_constants, quantize
from edgeq.qdq.ort_x86.saturation import pair_limit
from edgeq.quant import QuantizedTensor

if TYPE_CHECKING:
    from collections.abc import Hashable, Mapping, Sequence

    from numpy.typing import NDArray

    from edgeq.calibration.config import CalibrationConfig
    from edgeq.calibration.graph import Classified
    from edgeq.calibration.normal_form.draft import Draft
    from edgeq.network.placement import Op, Placement
    from edgeq.quant import QuantParams


# of weights that no network has learnt, whatever the width of the layers around them
_HELPER_BITS = 8
_BYTE = 255  # the largest integer of activations whose products kernels add in pairs

_STORED_OPERANDS = frozenset(("Add", "Sub", "Mul", "MatMul", "PRelu"))
"""Operators whose constant operands are stored as integers.

A single number beside an activation is part of a function instead.
"""


def insert(
    draft: Draft,
    classified: Classified,
    placement: Placement,
    grids: Mapping[str, QuantParams],
    config: CalibrationConfig,
    changes: Mapping[str, Mapping[str, Any]],
) -> None:
    """Turn a float graph into a QDQ graph, in place.

    Args:
        draft: the graph.
        classified: its operators.
        placement: where grids stand.
        grids: the grid of each quantiser of ``placement``.
        config: how weights are quantised.
        changes: what is different for some layers, by the tensors that they make.
    """
    _Inserter(draft, classified, placement, grids, config, changes).run()


class _Inserter:
    def __init__(
        self,
        draft: Draft,
        classified: Classified,
        placement: Placement,
        grids: Mapping[str, QuantParams],
        config: CalibrationConfig,
        changes: Mapping[str, Mapping[str, Any]],
    ) -> None:
        self.draft, self.graph, self.classified = draft, draft.graph, classified
        self.placement, self.grids = placement, grids
        self.config, self.changes = config, changes
        # tensor -> the grid it lies on; views join in as they are met
        self.behind = dict(placement.tensors)

    def run(self) -> None:
        operators = tuple(self.graph)
        inputs = {name_of(value): value for value in self.graph.inputs}
        for op in self.classified.ops:
            if op.kind == "input":
                if op.name in self.behind:
                    self._store(inputs[op.name], op.name, moved=False)
                continue
            if op.name not in self.classified.makers:
                continue  # a part of an output
            node = self.classified.makers[op.name]
            self._requantize_inputs(op, node)
            if node.op_type in LAYERS and (
                op.name in self.placement.layers or self._helps(op, node)
            ):
                self._store_parameters(op, node)
            if op.kind == "relu" and op.name in self.behind:
                node = self._without_bound(op, node)
            if op.kind == "constant" and op.name in self.behind:
                self._store_table(op, node)
            if op.kind == "data_movement" and op.inputs[0] in self.behind:
                self.behind[op.name] = self.behind[op.inputs[0]]
            if op.name in self.behind:
                moved = op.kind in ("data_movement", "constant")
                self._store(output(node), op.name, moved=moved)
        for node, parts in self.classified.tail.items():
            grids = {self.behind.get(part) for part in parts}
            shared = grids.pop()
            if shared is not None and not grids:
                name = name_of(output(node))
                self.behind[name] = shared
                self._store(output(node), name, moved=True)
        for node in operators:
            if node.domain == "" and node.op_type in _STORED_OPERANDS:
                self._store_operands(node)

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
                value.name, result.name = self.draft.values.fresh(f"{name}_float"), name

    def _requantize_inputs(self, op: Op, node: ir.Node) -> None:
        for index, tensor in enumerate(op.inputs):
            grid = self.placement.edges.get((op.name, index))
            source = None if grid is None else node.inputs[index]
            if grid is not None and source is not None:
                node.replace_input_with(
                    index, self._pair(source, f"{tensor}_to_{op.name}", grid, clip=True)
                )

    def _pair(self, value: ir.Value, name: str, grid: str, *, clip: bool) -> ir.Value:
        place = value.producer()

        def node(
            op_type: str, inputs: Sequence[ir.Value], wanted: str, dtype: ir.DataType
        ) -> ir.Value:
            nonlocal place
            made = self.draft.node(op_type, inputs, wanted, name=f"{name}/{op_type}")
            result = output(made)
            result.shape, result.type = value.shape, ir.TensorType(dtype)
            self._insert_behind(place, made)
            place = made
            return result

        return quantize(
            value,
            name,
            grid,
            self.grids[grid],
            node=node,
            constant=self._constant,
            in_range=not clip,
        )

    def _insert_behind(self, place: ir.Node | None, node: ir.Node) -> None:
        if place is None:
            self.graph.insert_before(self.graph[0], node)
        else:
            self.graph.insert_after(place, node)

    def _helps(self, op: Op, node: ir.Node) -> bool:
        """Whether a layer that no network has learnt reads integers; what it reads may be float."""
        return is_helper(node) and (
            (op.name, 0) in self.placement.edges or op.inputs[0] in self.behind
        )

    def _store_parameters(self, op: Op, node: ir.Node) -> None:
        grid = self.placement.edges.get((op.name, 0)) or self.behind[op.inputs[0]]
        weight, bias = _float(node, 1), _float(node, 2) if len(node.inputs) > 2 else None
        axis = channel_axis(node)
        helps = is_helper(node)
        different = self.changes.get(op.name, {})
        narrow = self.grids[grid].qmax <= _BYTE
        in_pairs = self.config.pair_safe and narrow and not _without_pairs(node, weight)
        layer = FloatLayer(
            node.name or op.name,
            np.moveaxis(weight, axis, 0),
            bias,
            self.grids[grid].scale,
            bits=_HELPER_BITS if helps else self.placement.layers[op.name],
            per_channel=helps or different.get("per_channel", self.config.per_channel),
            pair_limit=pair_limit(self.grids[grid].qmax) if in_pairs else None,
            channel_bits=self.placement.channel_bits.get(op.name, ()),
        )
        method = self.config.weight_quantizer(different.get("weights"))
        integers = quantize_layer(layer, symmetric.method if helps else method)
        stored = _turned(integers.weight, axis)
        node.replace_input_with(1, self._dequantized(node, f"{node.name}.weight", stored))
        if integers.bias is not None:
            node.replace_input_with(2, self._dequantized(node, f"{node.name}.bias", integers.bias))

    def _store_table(self, op: Op, node: ir.Node) -> None:
        """Put the table that rows are picked from on the grid of the rows."""
        params, table = self.grids[self.behind[op.name]], _float(node, 0)
        integers = QuantizedTensor(params.quantize(table), params)
        name = name_of(node.inputs[0]) if node.inputs[0] is not None else f"{op.name}_table"
        node.replace_input_with(0, self._dequantized(node, name, integers))

    def _store_operands(self, node: ir.Node) -> None:
        """Put constant operands on a grid of their own, as wide as what they meet."""
        wide = any(_holds_16_bits(value) for value in node.inputs)
        for index, value in enumerate(node.inputs):
            array = constant(value)
            if (
                value is None
                or array is None
                or (array.size == 1 and node.op_type not in ("MatMul", "PRelu"))
            ):
                continue
            params = constant_grid(array, wide=wide)
            integers = QuantizedTensor(params.quantize(array.astype(np.float32)), params)
            node.replace_input_with(index, self._dequantized(node, name_of(value), integers))

    def _dequantized(self, node: ir.Node, name: str, tensor: QuantizedTensor) -> ir.Value:
        stored = self.draft.constant(f"{name}_quantized", tensor.values)
        attributes = (
            [] if tensor.params.axis is None else [ir.AttrInt64("axis", tensor.params.axis)]
        )
        grid = grid_constants(
            name, tensor.params, lambda name, array: self._constant(name, array, key=stored)
        )
        reader = self.draft.node(
            "DequantizeLinear",
            [stored, *grid],
            f"{name}_dequantized",
            attributes,
            name=f"{name}/DequantizeLinear",
        )
        result = output(reader)
        result.type, result.shape = ir.TensorType(ir.DataType.FLOAT), ir.Shape(tensor.values.shape)
        self.graph.insert_before(node, reader)
        return result

    def _without_bound(self, op: Op, node: ir.Node) -> ir.Node:
        """A Relu for a Clip whose upper bound the grid does not reach: it saturates before."""
        params = self.grids[self.behind[op.name]]
        steps = np.rint(np.float32(upper_bound(node)) / params.scale) + params.zero_point
        if node.op_type == "Relu" or lower_bound(node) != 0 or steps < params.qmax:
            return node
        return replace(self.draft, node, "Relu", [node.inputs[0]], {})

    def _constant(self, name: str, array: NDArray[np.generic], key: Hashable = None) -> ir.Value:
        """An initialiser, made once for each name and owner."""
        return self.draft.constant(name, array, key=(name, key))


def _holds_16_bits(value: ir.Value | None) -> bool:
    reader = None if value is None else value.producer()
    stored = reader.inputs[0] if reader is not None and reader.inputs else None
    return stored is not None and stored.dtype == ir.DataType.INT16


def _turned(tensor: QuantizedTensor, axis: int) -> QuantizedTensor:
    """Weights whose output channels are along the first axis, with these along another."""
    if axis == 0:
        return tensor
    params = (
        tensor.params
        if tensor.params.axis is None
        else dataclasses.replace(tensor.params, axis=axis)
    )
    return QuantizedTensor(np.ascontiguousarray(np.moveaxis(tensor.values, 0, axis)), params)


def _without_pairs(node: ir.Node, weight: NDArray[np.float32]) -> bool:
    """Whether kernels compute a layer without adding pairs of products.

    Depthwise and transposed convolutions.
    """
    group = node.attributes["group"].as_int() if "group" in node.attributes else 1
    return node.op_type == "ConvTranspose" or (
        node.op_type == "Conv" and weight.shape[1] == 1 and group == len(weight)
    )


def _float(node: ir.Node, index: int) -> NDArray[np.float32]:
    array = constant(node.inputs[index])
    if array is None:  # canonical_layers has made it a constant: a mistake of ours
        raise ValueError(f"{node.op_type} {node.name} has no constant input {index}")
    return array.astype(np.float32)
