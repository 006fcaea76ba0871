"""A QDQ model in which faults are planted: its layers, and ways to change them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import onnx
from onnx import helper, numpy_helper

if TYPE_CHECKING:
    from collections.abc import Callable

    Change = Callable[[np.ndarray], np.ndarray]

_LAYERS = ("Conv", "Gemm", "MatMul", "ConvTranspose")


@dataclass(frozen=True)
class Layer:
    """A layer with stored weights.

    Attributes:
        node: its name.
        op_type: what it is.
        place: the index of its node.
        source: the dequantised tensor that it reads.
        result: the tensor, without suffix, that its quantiser stores.
        weights: the name of its integers.
        weight_scale: of their scale.
        weight_zero: of their zero point.
        bias: of the bias's integers; empty for none.
        bias_scale: of their scale.
        activation: the index of a Relu or Clip behind it; -1 for none.
        quantizer: the index of its quantiser.
    """

    node: str
    op_type: str
    place: int
    source: str
    result: str
    weights: str
    weight_scale: str
    weight_zero: str
    bias: str
    bias_scale: str
    activation: int
    quantizer: int


class Planting:
    """A copy of a model that is being changed."""

    def __init__(self, model: onnx.ModelProto) -> None:
        self.model = onnx.ModelProto()
        self.model.CopyFrom(model)
        self.graph = self.model.graph
        self._stored = {each.name: each for each in self.graph.initializer}
        self._made: dict[str, onnx.NodeProto] = {
            name: node for node in self.graph.node for name in node.output
        }

    def values(self, name: str) -> np.ndarray:
        """A constant."""
        return numpy_helper.to_array(self._stored[name]).copy()

    def change(self, name: str, how: Change) -> None:
        """Change a constant, in its own type."""
        before = self.values(name)
        after = np.ascontiguousarray(np.asarray(how(before.copy())))
        assert not np.array_equal(after.astype(before.dtype), before), "nothing was planted"
        self._stored[name].CopyFrom(numpy_helper.from_array(after.astype(before.dtype), name))

    def own(self, node: onnx.NodeProto, position: int, how: Change) -> None:
        """Give one node a constant of its own, changed."""
        name = node.input[position]
        before = self.values(name)
        value = numpy_helper.from_array(
            np.asarray(how(before.copy())).astype(before.dtype), f"{name}_planted"
        )
        self.graph.initializer.append(value)
        node.input[position] = value.name

    def dequantizer(self, tensor: str) -> onnx.NodeProto:
        """What makes the real numbers of a tensor that a layer reads."""
        node: onnx.NodeProto = self._made[tensor]
        assert node.op_type == "DequantizeLinear"
        return node

    def quantizer_of(self, tensor: str) -> onnx.NodeProto | None:
        """The quantiser of a dequantised tensor; None for one with operators in between."""
        node = self._made.get(self.dequantizer(tensor).input[0])
        while node is not None and node.op_type == "Clip":
            node = self._made.get(node.input[0])
        return node if node is not None and node.op_type == "QuantizeLinear" else None

    def readers(self, tensor: str) -> list[onnx.NodeProto]:
        """The nodes that read a tensor."""
        return [node for node in self.graph.node if tensor in node.input]

    def insert(self, place: int, *nodes: onnx.NodeProto) -> None:
        """Put nodes in front of a place."""
        rest = list(self.graph.node)
        del self.graph.node[:]
        self.graph.node.extend([*rest[:place], *nodes, *rest[place:]])

    def constant(self, name: str, value: np.ndarray | np.generic) -> str:
        """A constant more."""
        self.graph.initializer.append(numpy_helper.from_array(np.asarray(value), name))
        return name

    def set(self, node: onnx.NodeProto, name: str, value: object) -> None:
        """Set an attribute."""
        kept = [each for each in node.attribute if each.name != name]
        del node.attribute[:]
        node.attribute.extend([*kept, helper.make_attribute(name, value)])


def layers_of(model: onnx.ModelProto) -> list[Layer]:
    """The layers with stored weights, in the order of the graph."""
    stored = {each.name for each in model.graph.initializer}
    made = {name: node for node in model.graph.node for name in node.output}
    places = {id(node): i for i, node in enumerate(model.graph.node)}
    read: dict[str, list[onnx.NodeProto]] = {}
    for node in model.graph.node:
        for name in node.input:
            read.setdefault(name, []).append(node)
    found = []
    for node in model.graph.node:
        weights = made.get(node.input[1]) if len(node.input) > 1 else None
        source = made.get(node.input[0]) if node.input else None
        if (
            node.op_type not in _LAYERS
            or weights is None
            or source is None
            or source.op_type != "DequantizeLinear"
            or weights.op_type != "DequantizeLinear"
            or weights.input[0] not in stored
        ):
            continue
        bias = made.get(node.input[2]) if len(node.input) > 2 else None
        behind, activation = node, -1
        while True:
            users = read.get(behind.output[0], [])
            if len(users) != 1:
                break
            behind = users[0]
            if behind.op_type in ("Relu", "Clip"):
                activation = places[id(behind)]
                continue
            break
        if behind.op_type != "QuantizeLinear":
            continue
        stored_bias = bias is not None and bias.op_type == "DequantizeLinear"
        found.append(
            Layer(
                node.name,
                node.op_type,
                places[id(node)],
                node.input[0],
                behind.input[0],
                weights.input[0],
                weights.input[1],
                weights.input[2] if len(weights.input) > 2 else "",
                bias.input[0] if stored_bias and bias is not None else "",
                bias.input[1] if stored_bias and bias is not None else "",
                activation,
                places[id(behind)],
            )
        )
    return found
