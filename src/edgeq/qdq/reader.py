"""The walk from the nodes of a QDQ file to the integer operators they mean.

Each value of the file is given a meaning: a constant, integers of a quantised tensor, the real
numbers those integers stand for, or a float result that still waits for its quantiser. A
QuantizeLinear turns the last kind into an operator.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Literal

import numpy as np

from edgeq.errors import ArtefactError
from edgeq.formats.onnx_validation import error_context
from edgeq.formats.quantizers import QUANTIZERS
from edgeq.numerics.attributes import integer, real
from edgeq.qdq import batch_norm
from edgeq.qdq.attributes import attributes_of, picked
from edgeq.qdq.builder import QUANTIZE_HINT, UNROLL_HINT, GraphBuilder, only_clip
from edgeq.qdq.constants import moved_constant
from edgeq.qdq.ir import Blocker, QdqConstant, QdqGraph, QdqOp, QdqOutput, QdqTensor, same_grid
from edgeq.qdq.lookup_tables import fuse_to_lookup
from edgeq.qdq.nodes import (
    SIZES,
    bounds_of,
    constant_of,
    grid_of,
    in_order,
    integer_of,
    kind_of,
    merged_errors,
    reduces_nothing,
    rows_picked,
    stripped,
    title,
)
from edgeq.qdq.op_traits import RECURRENT, traits_of
from edgeq.qdq.picks import EMBEDDING, PICK
from edgeq.qdq.shapes import Shapes, check_pooling, check_samples, is_open
from edgeq.qdq.symbolic import (
    DeferredOp,
    Dequantized,
    Input,
    Quantized,
    QuantizedRange,
    ShapeValue,
    SymbolicValue,
    activation_of,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

    import onnx_ir as ir

    from edgeq.numerics.attributes import AttributeValue

_TRANSPARENT = frozenset(("Identity", "Dropout"))
_ACTIVATIONS = frozenset(("Relu", "Clip"))
_HEADS: Mapping[str, Literal["softmax", "log_softmax"]] = {
    "Softmax": "softmax",
    "LogSoftmax": "log_softmax",
}
_INTEGERS = {6: "int32", 7: "int64"}  # by ONNX's number of the type
_FLOAT32 = 1
_TAKES_SHAPES = frozenset(("Resize", "GatherND", "Expand", "Tile"))
_WAITS = QUANTIZERS | frozenset(("Split", "Cast")) | _TRANSPARENT | SIZES | _ACTIVATIONS


@dataclass(slots=True)
class Reader:
    """Reads one model.

    Attributes:
        model: the model.
        float_fallback: whether a result without a quantiser becomes a tensor in float; else all of
            them are named in one error.
    """

    model: ir.Model
    float_fallback: bool = False
    _graph: GraphBuilder = field(init=False)
    _values: dict[ir.Value, SymbolicValue] = field(default_factory=dict)

    def __post_init__(self) -> None:
        computed_with = (
            value
            for value in self.model.graph.inputs
            if any(not _waits(node) for node in value.consumers())
        )
        self._graph = GraphBuilder(Shapes(self.model), frozenset(computed_with))

    def read(self) -> QdqGraph:
        """The integer graph.

        Raises:
            ArtefactError: see :func:`read_qdq`.
        """
        for node in in_order(self.model.graph):
            self._visit(node)
        outputs = tuple(self._output(value) for value in self.model.graph.outputs)
        if self._graph.blocked and not self.float_fallback:
            if not any(node.op_type in QUANTIZERS for node in self.model.graph):
                raise ArtefactError(
                    "nothing in it is quantised: it is a float model",
                    hint="edgeq calibrate writes a quantised one",
                )
            raise merged_errors(self._graph.blocked)
        graph_inputs = [value for value in self.model.graph.inputs if value in self._graph.inputs]
        return QdqGraph(
            ops=tuple(_fold(self._graph.ops, outputs)),
            inputs=tuple(self._graph.inputs[value] for value in graph_inputs),
            outputs=outputs,
            dynamic_batch=any(is_open(value) for value in graph_inputs),
            metadata=dict(self.model.metadata_props),
            blockers=tuple(Blocker(error.what, error.hint) for error in self._graph.blocked),
            integers={
                value.name or "": m.tensor.name
                for value, m in self._values.items()
                if isinstance(m, Quantized)
            },
        )

    def _symbolic(self, value: ir.Value) -> SymbolicValue:
        if value not in self._values:
            constant = constant_of(value)
            if constant is not None:
                self._values[value] = QdqConstant(
                    stripped(value.name or "constant"), constant, None
                )
            elif rows := rows_picked(value):
                self._values[value] = Quantized(self._graph.index_input(value, rows))
            elif value.is_graph_input():
                self._values[value] = Input(value)
            else:
                raise ArtefactError(
                    f"nothing computes the value {value.name!r}",
                    hint="write the model again from its source",
                )
        return self._values[value]

    def _visit(self, node: ir.Node) -> None:
        if node.op_type == "Constant" or (node.outputs and node.outputs[0] in self._values):
            return
        operands = tuple(None if value is None else self._symbolic(value) for value in node.inputs)
        if (
            node.op_type in SIZES
            or (any(isinstance(o, ShapeValue) for o in operands) and not _takes_shapes(node))
            or _all_shapes(operands)
        ):
            _check_sizes(node, operands)
            self._values.update({value: ShapeValue() for value in node.outputs})
        elif node.op_type == "QuantizeLinear":
            self._quantize(node, operands[0])
        elif node.op_type == "DequantizeLinear":
            self._values[node.outputs[0]] = self._dequantized(node, operands[0])
        elif (node.op_type in _TRANSPARENT or reduces_nothing(node)) and operands[0] is not None:
            self._values[node.outputs[0]] = operands[0]
        elif node.op_type in _ACTIVATIONS:
            self._values[node.outputs[0]] = self._activation(node, operands[0])
        elif node.op_type == "Gather" and _is_index(operands[1:2]):
            self._values[node.outputs[0]] = self._embedding(node, *operands[:2])
        elif node.op_type == "Split":
            self._split(node, operands[0])
        elif node.op_type == "Cast" and not isinstance(operands[0], QdqConstant):
            self._values[node.outputs[0]] = self._cast(node, operands[0])
        else:
            self._values[_only_output(node)] = self._computed(node, operands)

    def _dequantized(self, node: ir.Node, operand: SymbolicValue | None) -> SymbolicValue:
        params = grid_of(node)
        if isinstance(operand, QdqConstant):
            if operand.values.dtype.kind not in "iu":
                raise ArtefactError(
                    f"DequantizeLinear {title(node)!r} reads floats",
                    hint="store the integers it should read",
                )
            return QdqConstant(operand.name, operand.values, operand.params or params)
        if isinstance(operand, Input):
            low_high = QuantizedRange(params, params.qmin, params.qmax)
            return Dequantized(
                self._graph.input(operand.value, low_high, stripped(operand.value.name or "input"))
            )
        if not isinstance(operand, Quantized):
            raise ArtefactError(
                f"DequantizeLinear {title(node)!r} reads what no QuantizeLinear wrote",
                hint=QUANTIZE_HINT,
            )
        if not same_grid(params, operand.tensor.params):
            raise ArtefactError(
                f"DequantizeLinear {title(node)!r} reads {operand.tensor.name!r} on "
                "another grid than it was written on",
                hint="give the QuantizeLinear and its DequantizeLinear one scale and zero point",
            )
        return Dequantized(operand.tensor)

    def _activation(self, node: ir.Node, operand: SymbolicValue | None) -> SymbolicValue:
        low, high = bounds_of(node)
        value = node.outputs[0]
        if isinstance(operand, Quantized):
            params = operand.tensor.params
            narrowed = replace(
                params, qmin=int(max(params.qmin, low)), qmax=int(min(params.qmax, high))
            )
            return Quantized(
                self._graph.requantized(
                    node,
                    operand.tensor,
                    QuantizedRange(narrowed, narrowed.qmin, narrowed.qmax),
                    stripped(value.name or ""),
                )
            )
        if isinstance(operand, DeferredOp):
            low, high = max(low, operand.low), min(high, operand.high)
            return replace(operand, low=low, high=high, activation=activation_of(low, high))
        if isinstance(operand, (Dequantized, Input)):
            return DeferredOp(
                node, value, "Requantize", (operand,), {}, low, high, activation_of(low, high)
            )
        # Brevitas writes the sub-range of its weights so
        if isinstance(operand, QdqConstant) and operand.params is None:
            return QdqConstant(
                operand.name, np.clip(operand.values, low, high).astype(operand.values.dtype), None
            )
        raise ArtefactError(
            f"{node.op_type} {title(node)!r} works on a constant",
            hint="fold constants before exporting",
        )

    def _cast(self, node: ir.Node, operand: SymbolicValue | None) -> SymbolicValue:
        """A Cast between types of float changes nothing that is computed.

        One of an argmax names its type.
        """
        to = node.attributes["to"].as_int()
        if isinstance(operand, DeferredOp) and operand.op_type == "ArgMax" and to in _INTEGERS:
            return replace(operand, attributes={**operand.attributes, "dtype": _INTEGERS[to]})
        if operand is not None and _is_index((operand,)) and to in _INTEGERS:
            return operand
        if operand is None or to != _FLOAT32 or isinstance(operand, (Quantized, ShapeValue)):
            raise ArtefactError(
                f"Cast {title(node)!r} changes the type of an activation",
                hint="keep activations in float32 between quantisers",
            )
        return operand

    def _computed(self, node: ir.Node, operands: tuple[SymbolicValue | None, ...]) -> SymbolicValue:
        value = node.outputs[0]
        source = operands[0] if operands else None
        shape = self._shape_of(node, source) if operands else ()
        op_type = kind_of(node)
        attributes = (
            picked(node, shape, self._graph.shapes.of(value))
            if op_type == PICK
            else attributes_of(node, shape)
        )
        if op_type in ("MaxPool", "AveragePool"):
            check_pooling(node, shape, self._graph.shapes.of(value))
        if isinstance(source, QdqConstant) and traits_of(op_type).moves:
            constant = moved_constant(op_type, source, attributes, self._graph.shapes.of(value))
            if constant is not None:
                return constant
        if not traits_of(op_type).moves:
            return self._arithmetic(node, operands, attributes)
        data = operands[: traits_of(op_type).data]
        if (
            len({type(o) for o in data}) == 1
            and (moved := self._graph.moved(node, value, data, attributes, op_type)) is not None
        ):
            return moved
        return DeferredOp(node, value, op_type, data, attributes)

    def _shape_of(self, node: ir.Node, operand: SymbolicValue | None) -> tuple[int, ...]:
        """The dimensions of a node's first input."""
        if isinstance(operand, (Quantized, Dequantized)):
            return operand.tensor.shape
        return (
            operand.values.shape
            if isinstance(operand, QdqConstant)
            else self._graph.shapes.of(node.inputs[0])
        )

    def _arithmetic(
        self,
        node: ir.Node,
        operands: tuple[SymbolicValue | None, ...],
        attributes: dict[str, AttributeValue],
    ) -> DeferredOp:
        if node.op_type == "BatchNormalization":
            try:
                return batch_norm.normalized(node, operands, real(attributes, "epsilon", 1e-5))
            except ArtefactError as error:
                self._graph.blocked.append(error)
        if (table := fuse_to_lookup(node, operands, attributes)) is not None:
            return table
        return DeferredOp(
            node,
            node.outputs[0],
            node.op_type,
            tuple(self._graph.ready(operand) for operand in operands),
            attributes,
        )

    def _embedding(
        self, node: ir.Node, table: SymbolicValue | None, index: SymbolicValue | None
    ) -> SymbolicValue:
        """Rows of a constant table, by numbers that an input gives."""
        rank = table.values.ndim if isinstance(table, QdqConstant) else 0
        if not rank or integer_of(node, "axis", 0) % rank:
            raise ArtefactError(
                f"Gather {title(node)!r} picks by numbers that are only known as it runs, and not "
                "rows of a constant table",
                hint="export it with constant indices, or with the table as a constant",
            )
        found = DeferredOp(node, node.outputs[0], EMBEDDING, (index, table), {})
        return self._graph.rows(found)

    def _split(self, node: ir.Node, operand: SymbolicValue | None) -> None:
        """A Split is as many Slices as it has outputs."""
        axis = integer(attributes_of(node, self._graph.shapes.of(node.inputs[0])), "axis")
        start = 0
        for value in node.outputs:
            shape = self._graph.shapes.of(value)
            end = start + shape[axis]
            attributes: dict[str, AttributeValue] = {
                "starts": (start,),
                "ends": (end,),
                "axes": (axis,),
                "steps": (1,),
            }
            moved = self._graph.moved(node, value, (operand,), attributes, "Slice")
            self._values[value] = moved or DeferredOp(node, value, "Slice", (operand,), attributes)
            start = end

    def _quantize(self, node: ir.Node, operand: SymbolicValue | None) -> None:
        params, value = grid_of(node), node.outputs[0]
        if isinstance(operand, QdqConstant):
            on_grid = operand.params is not None and same_grid(operand.params, params)
            self._values[value] = (
                operand
                if on_grid
                else QdqConstant(operand.name, params.quantize(operand.dequantized()), params)
            )
            return
        if operand is None or isinstance(operand, (Quantized, ShapeValue)):
            raise ArtefactError(
                f"QuantizeLinear {title(node)!r} reads no floats",
                hint="write the model again from its source",
            )
        clip = only_clip(value)
        if clip is not None:
            low, high = bounds_of(clip)
            params = replace(
                params, qmin=int(max(params.qmin, low)), qmax=int(min(params.qmax, high))
            )
            value = clip.outputs[0]
        tensor = self._graph.onto(
            node,
            operand,
            QuantizedRange(params, params.qmin, params.qmax),
            stripped(value.name or ""),
        )
        self._values[value] = self._values[node.outputs[0]] = Quantized(tensor)

    def _output(self, value: ir.Value) -> QdqOutput:
        symbolic, name = self._symbolic(value), value.name or ""
        if isinstance(symbolic, (Dequantized, Quantized)):
            return QdqOutput(name, symbolic.tensor)
        if (
            isinstance(symbolic, DeferredOp)
            and (epilogue := self._epilogue(symbolic, name)) is not None
        ):
            return epilogue
        if isinstance(symbolic, DeferredOp):
            return QdqOutput(name, self._graph.put_together(symbolic).tensor)
        raise ArtefactError(
            f"the output {name!r} is not computed from quantised tensors", hint=QUANTIZE_HINT
        )

    def _epilogue(self, deferred: DeferredOp, name: str) -> QdqOutput | None:
        """A softmax or an argmax at the end, which is no fallback region.

        Its result leaves the graph.
        """
        source = deferred.operands[0] if deferred.operands else None
        if not isinstance(source, Dequantized) or source.tensor.is_float or deferred.activation:
            return None
        check_samples(deferred.node, (source.tensor,), deferred.attributes)
        if deferred.op_type in _HEADS:
            return QdqOutput(
                name,
                source.tensor,
                _HEADS[deferred.op_type],
                deferred.integer("axis"),
            )
        if deferred.op_type == "ArgMax" and not deferred.integer("select_last_index", 0):
            return QdqOutput(
                name,
                source.tensor,
                "argmax",
                deferred.integer("axis"),
                bool(deferred.integer("keepdims", 1)),
                "int32" if deferred.attributes.get("dtype") == "int32" else "int64",
            )
        return None


def _is_index(operands: tuple[SymbolicValue | None, ...]) -> bool:
    """Whether the first of some operands is whole numbers that pick rows of a table."""
    return any(isinstance(each, Quantized) and each.tensor.is_index for each in operands[:1])


def _takes_shapes(node: ir.Node) -> bool:
    """Whether an operator reads data and, perhaps, a shape."""
    return node.op_type in _TAKES_SHAPES or traits_of(node.op_type).moves


def _waits(node: ir.Node) -> bool:
    """Whether a node computes nothing before the quantiser after it is known."""
    return node.op_type in _WAITS or _takes_shapes(node)


def _check_sizes(node: ir.Node, operands: tuple[SymbolicValue | None, ...]) -> None:
    """See that no activation is computed with a size that is no constant."""
    data = (Quantized, Dequantized, DeferredOp, Input)
    if node.op_type not in SIZES and any(isinstance(operand, data) for operand in operands):
        raise ArtefactError(
            f"{node.op_type} {title(node)!r} computes with a size that only the input decides",
            hint="export the model with a fixed batch of 1",
        )


def _all_shapes(operands: tuple[SymbolicValue | None, ...]) -> bool:
    return bool(operands) and all(
        isinstance(o, ShapeValue) or (isinstance(o, QdqConstant) and o.values.dtype == np.int64)
        for o in operands
        if o is not None
    )


def _only_output(node: ir.Node) -> ir.Value:
    if any(value.uses() or value.is_graph_output() for value in node.outputs[1:]):
        raise ArtefactError(
            f"more than one output of {node.op_type} {title(node)!r} is used",
            hint=UNROLL_HINT if node.op_type in RECURRENT else "export it with one output",
        )
    return node.outputs[0]


def _fold(ops: list[QdqOp], outputs: tuple[QdqOutput, ...]) -> list[QdqOp]:
    """Merge a clip on an unchanged grid into the operator before it, if nothing else reads that."""
    uses: dict[str, int] = {}
    for tensor in [o for op in ops for o in op.inputs if isinstance(o, QdqTensor)] + [
        output.tensor for output in outputs
    ]:
        uses[tensor.name] = uses.get(tensor.name, 0) + 1
    folded: dict[str, QdqOp] = {}
    for op in ops:
        source = op.inputs[0] if op.op_type == "Requantize" else None
        if (
            isinstance(source, QdqTensor)
            and source.name in folded
            and uses[source.name] == 1
            and same_grid(source.params, op.output.params)
        ):
            producer = folded.pop(source.name)
            op = replace(
                producer, output=op.output, activation=op.activation or producer.activation
            )
        folded[op.output.name] = op
    return list(folded.values())


def read_qdq(model: ir.Model, *, float_fallback: bool = False) -> QdqGraph:
    """Read a quantised ONNX model of any tool, opset 10 to 25; ``model`` stays as it is.

    QDQ files, QOperator files, and those with the quantisers of QONNX or Brevitas.

    Args:
        model: the model.
        float_fallback: whether results without a quantiser become tensors in float
            (``QdqTensor.is_float``) rather than an error.

    Raises:
        ArtefactError: parts of the graph stay in float, all of which it names; or it is not valid
            ONNX, has a cycle or unknown shapes.
    """
    from edgeq.qdq.normal_form.sizes import with_known_sizes
    from edgeq.qdq.qoperator.convert import as_qdq
    from edgeq.qdq.qoperator.operators import require_static

    quantized = as_qdq(model)
    require_static(quantized.graph)
    with error_context(quantized):
        return Reader(with_known_sizes(quantized), float_fallback).read()
