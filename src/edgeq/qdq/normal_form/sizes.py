"""What a graph computes from sizes and constants alone, and the sizes of all its values.

``x.view(x.size(0), -1)`` is five operators where an exporter traces it, and none of them is an
operator of an inference. The sizes are followed through the graph for two batches: what is equal
for both is a constant, and a dimension that differs is so many times the batch. Nothing is run.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import onnx
import onnx_ir as ir
from onnx.reference import ReferenceEvaluator

from edgeq.formats.quantizers import QUANTIZERS
from edgeq.numerics.pointwise import BINARY, UNARY
from edgeq.qdq.nodes import BY_CHANCE, SIZES, constant_of, in_order, integer_of
from edgeq.qdq.shapes import ALONG_AXES, is_open, lists_nothing

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

_BATCHES = (2, 3)
_MOST_FOLDED = 2**20  # elements of a constant that is computed
_MOST_READ = 2**10  # numbers that may decide a shape
_ARITHMETIC = frozenset((*BINARY, *UNARY))


def with_known_sizes(model: ir.Model) -> ir.Model:
    """A copy of a model whose sizes are constants and whose values state their shapes.

    The model itself where no operator asks for a size, works along an axis that might be the batch
    or computes with constants only, and where an input leaves more than its batch open.

    Raises:
        ArtefactError: see :func:`edgeq.qdq.nodes.in_order`.
    """
    if not any(_asks(node) for node in model.graph):
        return model
    copy = model.clone()
    graph = copy.graph
    inputs_open = [value for value in graph.inputs if is_open(value)]
    batches = _BATCHES if inputs_open else (1,)
    walks = [_Walk(graph, batch) for batch in batches]
    if any(walk.shape(value) is None for walk in walks for value in graph.inputs):
        return model
    nodes = in_order(graph)
    unread = {node for node in nodes if not _is_read(node)}  # by anything, as it was given
    for node in nodes:
        for walk in walks:
            walk.visit(node)
    batch = next((name for value in inputs_open if (name := _first(value))), "N")
    for value in inputs_open:
        if _first(value) is None and value.shape is not None:
            value.shape = ir.Shape([batch, *value.shape[1:]])
    for value in [value for node in nodes for value in node.outputs if value.name]:
        _fold(graph, value, [walk.computed.get(value) for walk in walks])
        shapes = [shape for walk in walks if (shape := walk.shape(value)) is not None]
        if len(shapes) == len(walks) and len({len(shape) for shape in shapes}) == 1:
            value.shape = ir.Shape([_size(each, batch) for each in zip(*shapes, strict=True)])
    for node in reversed(nodes):
        if node not in unread and not _is_read(node):
            graph.remove(node, safe=True)
    return copy


def _asks(node: ir.Node) -> bool:
    """Whether a node needs what is found here."""
    source = node.inputs[0] if node.inputs else None
    if node.op_type in ALONG_AXES:
        return source is not None and source.shape is None
    return node.op_type in SIZES or (
        node.op_type in _ARITHMETIC and all(_is_constant(value) for value in node.inputs)
    )


def _is_read(node: ir.Node) -> bool:
    """Whether a node makes something that another reads, or an output."""
    return any(value.uses() or value.is_graph_output() for value in node.outputs)


def _is_constant(value: ir.Value | None) -> bool:
    """Whether a value is a constant, perhaps one behind a DequantizeLinear."""
    maker = None if value is None else value.producer()
    if maker is not None and maker.op_type == "DequantizeLinear":
        value = maker.inputs[0]
    return constant_of(value) is not None


def _first(value: ir.Value) -> str | None:
    """The name of the first dimension of a value; None where it has none."""
    first = value.shape[0] if value.shape else None
    return first.value if isinstance(first, ir.SymbolicDim) else None


def _size(sizes: Sequence[int], batch: str) -> int | ir.SymbolicDim:
    """A dimension as a number, the batch, or so many times the batch."""
    if len(set(sizes)) == 1:
        return sizes[0]
    times = {size / count for size, count in zip(sizes, _BATCHES, strict=True)}
    if len(times) > 1 or sizes[0] % _BATCHES[0]:
        return ir.SymbolicDim(None)
    count = sizes[0] // _BATCHES[0]
    return ir.SymbolicDim(batch if count == 1 else f"{count}*{batch}")


def _fold(graph: ir.Graph, value: ir.Value, found: Sequence[NDArray[np.generic] | None]) -> None:
    """Put a constant of the same name in the place of a value that no batch changes."""
    first, name = found[0], value.name or ""
    if first is None or value.is_graph_output():
        return
    if not all(each is not None and np.array_equal(each, first) for each in found[1:]):
        return
    value.name = f"{name}~computed"
    constant = ir.Value(
        name=name,
        type=ir.TensorType(ir.DataType.from_numpy(first.dtype)),
        shape=ir.Shape(first.shape),
        const_value=ir.tensor(first, name=name),
    )
    graph.initializers[name] = constant
    value.replace_all_uses_with(constant)


class _Walk:
    """The shapes of the values of a graph for one batch, and the numbers that follow from them.

    Attributes:
        computed: what reads sizes and constants alone, or is arithmetic of constants.
    """

    def __init__(self, graph: ir.Graph, batch: int) -> None:
        self.computed: dict[ir.Value, NDArray[np.generic]] = {}
        self._constants: dict[ir.Value, NDArray[np.generic]] = {}
        self._batch = batch
        self._batch_names = {_first(value) for value in graph.inputs} - {None}
        self._types: dict[ir.Value, onnx.TypeProto] = {}
        self._version = graph.opset_imports.get("", 0)
        self._opsets = [onnx.helper.make_opsetid("", self._version)]
        for value in graph.inputs:
            if (known := self._stated(value)) is not None:
                self._types[value] = known

    def shape(self, value: ir.Value) -> tuple[int, ...] | None:
        """The dimensions of a value; None where one of them is not known."""
        known = self._types.get(value)
        if known is None or not known.tensor_type.HasField("shape"):
            return None
        sizes = known.tensor_type.shape.dim
        if any(not size.HasField("dim_value") for size in sizes):
            return None
        return tuple(size.dim_value for size in sizes)

    def visit(self, node: ir.Node) -> None:
        """Find the shapes of what a node gives, and its numbers where they follow from sizes."""
        if node.op_type == "Constant":
            return
        if node.op_type in QUANTIZERS:
            self._keep(node)
            if node.op_type == "DequantizeLinear":
                self._compute(node, node.outputs[0])
            return
        self._types.update(self._inferred(node))
        for value in node.outputs:
            if (stated := self._stated(value)) is not None:
                self._types[value] = stated
        if node.op_type not in BY_CHANCE and len(node.outputs) == 1:
            self._compute(node, node.outputs[0])

    def _stated(self, value: ir.Value) -> onnx.TypeProto | None:
        """The type that the file states, where it leaves no more than the batch open."""
        if value.shape is None or value.dtype is None:
            return None
        holds_batch = is_open(value) and (
            value.is_graph_input() or _first(value) in self._batch_names
        )
        first = [self._batch] if holds_batch else value.shape[:1]
        sizes = [size for size in (*first, *value.shape[1:]) if isinstance(size, int)]
        if len(sizes) < len(value.shape):
            return None
        return onnx.helper.make_tensor_type_proto(int(value.dtype), sizes)

    def _keep(self, node: ir.Node) -> None:
        """Give what a quantiser or a dequantiser makes the shape of what it reads."""
        source, result = node.inputs[0], node.outputs[0]
        known = None if source is None else self._type_of(source)
        if known is not None:
            made = onnx.TypeProto.FromString(known.SerializeToString())
            made.tensor_type.elem_type = int(result.dtype or _made_by(node))
            self._types[result] = made

    def _type_of(self, value: ir.Value) -> onnx.TypeProto | None:
        if value not in self._types and (numbers := constant_of(value)) is not None:
            kind = value.dtype or ir.DataType.from_numpy(numbers.dtype)
            self._types[value] = onnx.helper.make_tensor_type_proto(int(kind), numbers.shape)
        return self._types.get(value)

    def _inferred(self, node: ir.Node) -> dict[ir.Value, onnx.TypeProto]:
        """The types of what a node gives, as far as ONNX tells them."""
        types: dict[str, onnx.TypeProto] = {}
        numbers: dict[str, onnx.TensorProto] = {}
        for value in node.inputs:
            if value is None:
                continue
            known, name = self._type_of(value), value.name or ""
            if known is None:
                return {}
            types[name] = known
            few = self._numbers(value)
            if few is not None and few.size <= _MOST_READ:
                numbers[name] = onnx.numpy_helper.from_array(few, name)
        try:
            schema = onnx.defs.get_schema(node.op_type, self._version, node.domain)
            proto = ir.to_proto(node)
            if lists_nothing(node):
                del proto.input[1:]
            found = onnx.shape_inference.infer_node_outputs(
                schema, proto, types, numbers, opset_imports=self._opsets
            )
        except (
            onnx.defs.SchemaError,
            onnx.checker.ValidationError,
            onnx.shape_inference.InferenceError,
        ):
            return {}  # what is wrong with it is said where the node is read
        named = {value.name: value for value in node.outputs}
        return {named[name]: each for name, each in found.items() if name in named}

    def _numbers(self, value: ir.Value) -> NDArray[np.generic] | None:
        for known in (self.computed, self._constants):
            if value in known:
                return known[value]
        return constant_of(value)

    def _compute(self, node: ir.Node, result: ir.Value) -> None:
        """The numbers of a node that reads sizes and constants only."""
        if node.domain != "":
            return
        sources = [value for value in node.inputs if value is not None]
        if node.op_type in SIZES:
            shape = self.shape(sources[0])
            if shape is not None:
                self.computed[result] = _asked(node, shape)
            return
        folds = node.op_type in _ARITHMETIC or any(value in self.computed for value in sources)
        shape = self.shape(result)
        given = {value.name or "": self._numbers(value) for value in sources}
        if (
            shape is None
            or np.prod(shape, dtype=np.float64) > (_MOST_FOLDED if folds else _MOST_READ)
            or any(each is None for each in given.values())
        ):
            return
        try:
            (found,) = ReferenceEvaluator(ir.to_proto(node)).run(None, given)
        except (ArithmeticError, NotImplementedError, RuntimeError, TypeError, ValueError):
            return  # then the sizes stay unknown, which is said where they are needed
        (self.computed if folds else self._constants)[result] = np.asarray(found)


def _made_by(node: ir.Node) -> ir.DataType:
    """What a quantiser or a dequantiser makes, where its result does not state it."""
    if node.op_type == "DequantizeLinear":
        return ir.DataType.FLOAT
    zero_point = node.inputs[2] if len(node.inputs) > 2 else None
    return ir.DataType.UINT8 if zero_point is None or zero_point.dtype is None else zero_point.dtype


def _asked(node: ir.Node, shape: tuple[int, ...]) -> NDArray[np.int64]:
    """What a Shape or a Size gives."""
    if node.op_type == "Size":
        return np.array(np.prod(shape, dtype=np.int64), np.int64)
    start, end = integer_of(node, "start", 0), integer_of(node, "end", len(shape))
    return np.array(shape[start:end], np.int64)
