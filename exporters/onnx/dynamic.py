"""Networks with integer weights and float activations as ONNX's dynamic quantisation.

What a layer reads is put onto the uint8 grid of its own range by DynamicQuantizeLinear, multiplied
by ConvInteger or MatMulInteger, and given its scale in float. Weights are written as uint8 around
128: products of unsigned numbers are added exactly by every x86 kernel, with VNNI or without.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import onnx_ir as ir

from edgeq.errors import ArtefactError
from edgeq.exporter import Exported, ParityReport
from edgeq.formats.graph_editor import GraphEditor
from edgeq.formats.onnx_io import parse, serialize
from edgeq.qdq.nodes import constant_of, grid_of, integer_of, title
from edgeq.tabular import counted

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from numpy.typing import NDArray

    from edgeq.quant import QuantParams

_MIDDLE = 128
_PRODUCTS = {"Conv": "ConvInteger", "Gemm": "MatMulInteger", "MatMul": "MatMulInteger"}


class _Weights(NamedTuple):
    """The integer weights of a layer.

    Attributes:
        integers: less their zero point, in the layout of ConvInteger or MatMulInteger.
        scale: (out,) or ().
    """

    integers: NDArray[np.int64]
    scale: NDArray[np.float32]


def export_dynamic(model: ir.Model) -> Exported:
    """Write a model whose layers have weights behind a DequantizeLinear.

    It takes one sample at a time, since DynamicQuantizeLinear has one range for all it is given.

    Raises:
        ArtefactError: a layer has no such form; names it.
    """
    wanted = [_weights_of(node) for node in model.graph if _is_layer(node)]
    made = model.clone()
    _Writer(made).write()
    content = serialize(made)
    return Exported(content, _parity(wanted, parse(content, "the written file")))


def _is_layer(node: ir.Node) -> bool:
    return node.op_type in _PRODUCTS and not node.domain and _dequantizer(node) is not None


def _dequantizer(node: ir.Node) -> ir.Node | None:
    """What gives a layer its weights, where they are integers."""
    maker = None if node.inputs[1] is None else node.inputs[1].producer()
    if maker is None or maker.op_type != "DequantizeLinear":
        return None
    return maker if constant_of(maker.inputs[0]) is not None else None


def _weights_of(node: ir.Node) -> _Weights:
    maker = _dequantizer(node)
    assert maker is not None  # noqa: S101  asked before
    grid: QuantParams = grid_of(maker)
    stored = constant_of(maker.inputs[0])
    assert stored is not None  # noqa: S101  asked before
    integers = stored.astype(np.int64) - grid.broadcast(stored.ndim)[1]
    if node.op_type == "Gemm":
        plain = all(_real(node, name) == 1.0 for name in ("alpha", "beta"))
        if not plain or integer_of(node, "transA"):
            raise ArtefactError(
                f"{title(node)} scales or transposes its operands",
                hint="use alpha = beta = 1 and transA = 0",
            )
        if integer_of(node, "transB"):
            integers = integers.T
    if integers.min(initial=0) < -_MIDDLE or integers.max(initial=0) >= _MIDDLE:
        raise ArtefactError(f"{title(node)} has weights beyond 8 bits", hint="store them as int8")
    return _Weights(integers, grid.scale)


def _real(node: ir.Node, name: str) -> float:
    attribute = node.attributes.get(name)
    return 1.0 if attribute is None else attribute.as_float()


class _Writer:
    """Rewrites a model in place."""

    def __init__(self, model: ir.Model) -> None:
        self._graph = model.graph
        self._editor = GraphEditor(model.graph)
        self._read: dict[ir.Value, ir.Node] = {}

    def write(self) -> None:
        """Rewrite all layers, and fix the batch."""
        for node in tuple(self._graph):
            if _is_layer(node):
                self._layer(node)
        for value in self._graph.inputs:
            if value.shape is not None and len(value.shape) and not value.is_initializer():
                value.shape = ir.Shape([1, *value.shape[1:]])
        for value in self._graph.outputs:
            value.shape = None
        for node in tuple(self._graph):
            if node.op_type == "DequantizeLinear" and not node.outputs[0].uses():
                self._graph.remove(node, safe=True)

    def _layer(self, node: ir.Node) -> None:
        weights, result = _weights_of(node), node.outputs[0]
        name = result.name or title(node)
        read = self._quantized(node)
        integers = self._constant(f"{name}_integers", (weights.integers + _MIDDLE).astype(np.uint8))
        middle = self._constant("weights_zero_point", np.array(_MIDDLE, np.uint8), key="middle")
        kind = _PRODUCTS[node.op_type]
        attributes = node.attributes.values() if kind == "ConvInteger" else ()
        values = [read.outputs[0], integers, read.outputs[2], middle]
        product = self._put(node, kind, values, f"{name}_sums", attributes)
        to_float = ir.AttrInt64("to", ir.DataType.FLOAT)
        kernel = weights.integers.ndim - 2
        value = self._put(node, "Cast", [product], f"{name}_sums_as_float", [to_float])
        scale = self._constant(f"{name}_weight_scale", _by_channel(weights.scale, kernel))
        step = self._put(node, "Mul", [read.outputs[1], scale], f"{name}_step")
        value = self._put(node, "Mul", [value, step], f"{name}_product")
        bias = node.inputs[2] if len(node.inputs) > 2 else None
        if bias is not None:
            numbers = constant_of(bias)
            if numbers is None:
                raise ArtefactError(f"{title(node)} computes its bias", hint="make it a constant")
            bias = self._constant(f"{name}_bias", _by_channel(numbers.astype(np.float32), kernel))
            value = self._put(node, "Add", [value, bias], f"{name}_sum")
        result.replace_all_uses_with(value, replace_graph_outputs=True)
        value.type, value.name, result.name = result.type, result.name, f"{name}_replaced"
        self._graph.remove(node, safe=True)

    def _quantized(self, node: ir.Node) -> ir.Node:
        """The DynamicQuantizeLinear of what a layer reads; one for all readers."""
        source = node.inputs[0]
        assert source is not None  # noqa: S101  a layer reads something
        if source not in self._read:
            names = [f"{source.name}_{what}" for what in ("integers", "scale", "zero_point")]
            made = ir.Node("", "DynamicQuantizeLinear", [source], num_outputs=3)
            made.name = self._editor.nodes.fresh(f"{source.name}/DynamicQuantizeLinear")
            for value, name in zip(made.outputs, names, strict=True):
                value.name = self._editor.values.fresh(name)
            self._graph.insert_before(node, made)
            self._read[source] = made
        return self._read[source]

    def _put(
        self,
        before: ir.Node,
        kind: str,
        inputs: list[ir.Value],
        name: str,
        attributes: Iterable[ir.Attr] = (),
    ) -> ir.Value:
        node = self._editor.node(kind, inputs, name, attributes)
        self._graph.insert_before(before, node)
        return node.outputs[0]

    def _constant(self, name: str, array: NDArray[np.generic], key: str | None = None) -> ir.Value:
        return self._editor.constant(name, array, key=key)


def _by_channel(numbers: NDArray[np.float32], kernel: int) -> NDArray[np.float32]:
    """One number for each output channel, shaped to go with sums of so many axes of a kernel."""
    return numbers.reshape(-1, *[1] * kernel) if numbers.size > 1 else numbers.reshape(())


def _parity(wanted: Sequence[_Weights], written: ir.Model) -> ParityReport:
    """Every weight and scale of the model beside those of the file, bit for bit."""
    products = [node for node in written.graph if node.op_type in _PRODUCTS.values()]
    different = [] if len(products) == len(wanted) else [counted(len(products), "product")]
    weights = scales = 0
    for expected, node in zip(wanted, products, strict=False):
        stored = constant_of(node.inputs[1])
        zero = constant_of(node.inputs[3])
        scale = _scale_behind(node)
        weights, scales = weights + expected.integers.size, scales + expected.scale.size
        if (
            stored is None
            or zero is None
            or not np.array_equal(
                stored.astype(np.int64) - zero.astype(np.int64), expected.integers
            )
        ):
            different.append(f"{title(node)}: integers differ")
        if scale is None or scale.tobytes() != expected.scale.tobytes():
            different.append(f"{title(node)}: scales differ")
    return ParityReport(weights, 0, scales, len(products), tuple(different))


def _scale_behind(product: ir.Node) -> NDArray[np.generic] | None:
    """The scale of the weights that a product's sums are multiplied by."""
    times = product.outputs[0].consumers()[0].outputs[0].consumers()[0]  # behind the Cast
    step = None if times.inputs[1] is None else times.inputs[1].producer()
    return None if step is None else constant_of(step.inputs[1])
