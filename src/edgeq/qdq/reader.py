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
from edgeq.qdq import batch_norm
from edgeq.qdq.constants import moved_constant
from edgeq.qdq.ir import (
    MOVES,
    Blocker,
    Operand,
    QdqConstant,
    QdqGraph,
    QdqOp,
    QdqOutput,
    QdqTensor,
    output_range,
    same_grid,
)
from edgeq.qdq.lookup_tables import check_numbers, fuse_to_lookup
from edgeq.qdq.nodes import (
    Shapes,
    attributes_of,
    bounds_of,
    check_pooling,
    check_samples,
    constant_of,
    grid_of,
    in_order,
    kind_of,
    merged_errors,
    picked,
    reduces_nothing,
    source_line,
    stripped,
    title,
)
from edgeq.qdq.picks import PICK
from edgeq.qdq.symbolic import (
    DeferredOp,
    Dequantized,
    Input,
    Key,
    Quantized,
    QuantizedRange,
    ShapeValue,
    SymbolicValue,
)
from edgeq.quant import QuantParams

if TYPE_CHECKING:
    from collections.abc import Mapping

    import onnx_ir as ir
    from numpy.typing import NDArray

    from edgeq.qdq.ir import Activation, AttributeValue

_TRANSPARENT = frozenset(("Identity", "Dropout"))
_SHAPE_OF = frozenset(("Shape", "Size"))
_ACTIVATIONS = frozenset(("Relu", "Clip"))
_HEADS: Mapping[str, Literal["softmax", "log_softmax"]] = {
    "Softmax": "softmax",
    "LogSoftmax": "log_softmax",
}
_INTEGERS = {6: "int32", 7: "int64"}  # by ONNX's number of the type
_FLOAT32 = 1
_READS_SHAPES = MOVES | {"Resize", "GatherND", "Expand", "Tile"}
_WAITS = (
    frozenset(("QuantizeLinear", "DequantizeLinear", "Split", "Cast"))
    | _READS_SHAPES
    | _TRANSPARENT
    | _SHAPE_OF
    | _ACTIVATIONS
)
_NO_GRID = QuantParams.of(1.0)
_HINT = (
    "put a QuantizeLinear/DequantizeLinear pair after it, or quantise with the integer placement"
)


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
    _shapes: Shapes = field(init=False)
    _computed_with: frozenset[ir.Value] = field(init=False)
    _values: dict[ir.Value, SymbolicValue] = field(default_factory=dict)
    _ops: list[QdqOp] = field(default_factory=list)
    _inputs: dict[ir.Value, QdqTensor] = field(default_factory=dict)
    _made: dict[Key, QdqTensor] = field(default_factory=dict)
    _names: set[str] = field(default_factory=set)
    _blocked: list[ArtefactError] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._shapes = Shapes(self.model)
        self._computed_with = frozenset(
            value
            for value in self.model.graph.inputs
            if any(node.op_type not in _WAITS for node in value.consumers())
        )

    def read(self) -> QdqGraph:
        """The integer graph.

        Raises:
            ArtefactError: see :func:`read_qdq`.
        """
        for node in in_order(self.model.graph):
            self._visit(node)
        outputs = tuple(self._output(value) for value in self.model.graph.outputs)
        if self._blocked and not self.float_fallback:
            raise merged_errors(self._blocked)
        graph_inputs = [value for value in self.model.graph.inputs if value in self._inputs]
        return QdqGraph(
            ops=tuple(_fold(self._ops, outputs)),
            inputs=tuple(self._inputs[value] for value in graph_inputs),
            outputs=outputs,
            dynamic_batch=any(
                value.shape is not None
                and len(value.shape) > 0
                and not isinstance(value.shape[0], int)
                for value in graph_inputs
            ),
            metadata=dict(self.model.metadata_props),
            blockers=tuple(Blocker(error.what, error.hint) for error in self._blocked),
            integers={
                value.name or "": m.tensor.name
                for value, m in self._values.items()
                if isinstance(m, Quantized)
            },
        )

    # ---- meanings --------------------------------------------------------------------------------

    def _symbolic(self, value: ir.Value) -> SymbolicValue:
        if value not in self._values:
            constant = constant_of(value)
            if constant is not None:
                self._values[value] = QdqConstant(
                    stripped(value.name or "constant"), constant, None
                )
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
            node.op_type in _SHAPE_OF
            or (
                any(isinstance(o, ShapeValue) for o in operands)
                and node.op_type not in _READS_SHAPES
            )
            or _all_shapes(operands)
        ):
            self._values.update({value: ShapeValue() for value in node.outputs})
        elif node.op_type == "QuantizeLinear":
            self._quantize(node, operands[0])
        elif node.op_type == "DequantizeLinear":
            self._values[node.outputs[0]] = self._dequantized(node, operands[0])
        elif (node.op_type in _TRANSPARENT or reduces_nothing(node)) and operands[0] is not None:
            self._values[node.outputs[0]] = operands[0]
        elif node.op_type in _ACTIVATIONS:
            self._values[node.outputs[0]] = self._activation(node, operands[0])
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
                self._input(operand.value, low_high, stripped(operand.value.name or "input"))
            )
        if not isinstance(operand, Quantized):
            raise ArtefactError(
                f"DequantizeLinear {title(node)!r} reads what no QuantizeLinear wrote", hint=_HINT
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
                self._requantized(
                    node,
                    operand.tensor,
                    QuantizedRange(narrowed, narrowed.qmin, narrowed.qmax),
                    stripped(value.name or ""),
                )
            )
        if isinstance(operand, DeferredOp):
            low, high = max(low, operand.low), min(high, operand.high)
            return replace(operand, low=low, high=high, activation=_named(low, high))
        if isinstance(operand, (Dequantized, Input)):
            return DeferredOp(
                node, value, "Requantize", (operand,), {}, low, high, _named(low, high)
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
            picked(node, shape, self._shapes.of(value))
            if op_type == PICK
            else attributes_of(node, shape)
        )
        if op_type in ("MaxPool", "AveragePool"):
            check_pooling(node, shape, self._shapes.of(value))
        if isinstance(source, QdqConstant) and op_type in MOVES:
            constant = moved_constant(op_type, source, attributes, self._shapes.of(value))
            if constant is not None:
                return constant
        if op_type not in MOVES:
            return self._arithmetic(node, operands, attributes)
        data = operands if op_type == "Concat" else operands[:1]
        if (
            len({type(o) for o in data}) == 1
            and (moved := self._moved(node, value, data, attributes, op_type)) is not None
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
            else self._shapes.of(node.inputs[0])
        )

    def _arithmetic(
        self,
        node: ir.Node,
        operands: tuple[SymbolicValue | None, ...],
        attributes: dict[str, AttributeValue],
    ) -> DeferredOp:
        if node.op_type == "BatchNormalization":
            try:
                return batch_norm.normalized(node, operands, float(attributes.get("epsilon", 1e-5)))  # type: ignore[arg-type]
            except ArtefactError as error:
                self._blocked.append(error)
        if (table := fuse_to_lookup(node, operands, attributes)) is not None:
            return table
        return DeferredOp(
            node,
            node.outputs[0],
            node.op_type,
            tuple(self._ready(operand) for operand in operands),
            attributes,
        )

    def _split(self, node: ir.Node, operand: SymbolicValue | None) -> None:
        """A Split is as many Slices as it has outputs."""
        axis = attributes_of(node, self._shapes.of(node.inputs[0]))["axis"]
        start = 0
        for value in node.outputs:
            shape = self._shapes.of(value)
            end = start + shape[int(axis)]  # type: ignore[arg-type]
            attributes: dict[str, AttributeValue] = {
                "starts": (start,),
                "ends": (end,),
                "axes": (int(axis),),  # type: ignore[arg-type]
                "steps": (1,),
            }
            moved = self._moved(node, value, (operand,), attributes, "Slice")
            self._values[value] = moved or DeferredOp(node, value, "Slice", (operand,), attributes)
            start = end

    def _ready(self, operand: SymbolicValue | None) -> SymbolicValue | None:
        """An operand of arithmetic must be on a grid already.

        A Relu of such an operand leaves it there.
        """
        if isinstance(operand, DeferredOp):
            return self._rectified(operand)
        if isinstance(operand, Input):
            return self._float_input(operand.value)
        if isinstance(operand, Quantized):
            raise ArtefactError(
                f"arithmetic is done on the integers of {operand.tensor.name!r}",
                hint="write it between DequantizeLinear and QuantizeLinear",
            )
        return operand

    def _rectified(self, deferred: DeferredOp) -> Dequantized:
        source = deferred.operands[0] if deferred.operands else None
        rectifies = deferred.op_type == "Requantize" and deferred.activation == "relu"
        if (
            not rectifies
            or not isinstance(source, Dequantized)
            or not source.tensor.per_tensor
            or source.tensor.is_float
        ):
            return self._fallback(deferred)
        params = source.tensor.params
        grid = QuantizedRange(params, max(params.qmin, source.tensor.zero_point), params.qmax)
        return Dequantized(
            self._requantized(deferred.node, source.tensor, grid, deferred.value.name or "")
        )

    # ---- what stays in float ---------------------------------------------------------------------

    def _fallback(self, deferred: DeferredOp) -> Dequantized:
        """A result that no quantiser follows, as a tensor in float."""
        name = deferred.value.name or ""
        key = (id(deferred.value), "float", b"", b"", 0, 0)
        if key not in self._made:
            self._blocked.append(_in_float(deferred))
            bounded = (deferred.low, deferred.high) != (float("-inf"), float("inf"))
            operands = tuple(self._float_operand(operand) for operand in deferred.operands)
            inner = self._float(
                deferred,
                f"{name}~unclipped" if bounded else name,
                operands,
                deferred.op_type,
                deferred.attributes,
            )
            if bounded:
                inner = self._float(
                    deferred, name, (inner,), "Clip", {"min": deferred.low, "max": deferred.high}
                )
            self._made[key] = inner
        return Dequantized(self._made[key])

    def _float_operand(self, operand: SymbolicValue | None) -> Operand | None:
        ready = self._ready(operand)
        return (
            ready.tensor
            if isinstance(ready, Dequantized)
            else ready
            if isinstance(ready, QdqConstant)
            else None
        )

    def _float(
        self,
        deferred: DeferredOp,
        name: str,
        operands: tuple[Operand | None, ...],
        op_type: str,
        attributes: Mapping[str, AttributeValue],
    ) -> QdqTensor:
        if op_type == "Requantize" and not isinstance(operands[0], QdqConstant):
            op_type = "Identity"  # the clip after it is the whole of it
        _check_samples(deferred.node, operands, attributes)
        tensor = QdqTensor(
            self._unique(name),
            self._shapes.of(deferred.value),
            _NO_GRID,
            _NO_GRID.qmin,
            _NO_GRID.qmax,
            is_float=True,
        )
        self._ops.append(
            QdqOp(
                op_type,
                title(deferred.node),
                operands,
                tensor,
                attributes,
                source=source_line(deferred.node),
            )
        )
        return tensor

    def _float_input(self, value: ir.Value) -> Dequantized:
        if value not in self._inputs:
            self._blocked.append(
                ArtefactError(
                    f"the input {value.name!r} is used in float",
                    hint="put a QuantizeLinear/DequantizeLinear pair after it",
                )
            )
            name = self._unique(value.name or "input")
            shape = self._shapes.of(value)
            self._inputs[value] = QdqTensor(
                name, shape, _NO_GRID, _NO_GRID.qmin, _NO_GRID.qmax, value.name or "", is_float=True
            )
        return Dequantized(self._inputs[value])

    # ---- movement --------------------------------------------------------------------------------

    def _moved(
        self,
        node: ir.Node,
        value: ir.Value,
        data: tuple[SymbolicValue | None, ...],
        attributes: Mapping[str, AttributeValue],
        op_type: str = "",
    ) -> Quantized | Dequantized | None:
        """Data movement on tensors of one grid needs no quantiser of its own; None where the grids differ."""
        tensors = [o.tensor for o in data if isinstance(o, (Quantized, Dequantized))]
        if len(tensors) < len(data) or any(
            t.is_float or not same_grid(t.params, tensors[0].params) for t in tensors
        ):
            return None
        stored = isinstance(data[0], Quantized)
        _check_padding(node, attributes, tensors[0].zero_point if stored else 0)
        params = replace(
            tensors[0].params,
            qmin=min(t.params.qmin for t in tensors),
            qmax=max(t.params.qmax for t in tensors),
        )
        grid = QuantizedRange(params, min(t.low for t in tensors), max(t.high for t in tensors))
        name = stripped(value.name or "") if stored else self._moved_name(value, params)
        tensor = self._emit(
            op_type or node.op_type,
            node,
            tuple(tensors),
            attributes,
            grid,
            name,
            self._shapes.of(value),
        )
        return Quantized(tensor) if stored else Dequantized(tensor)

    def _moved_name(self, value: ir.Value, params: QuantParams) -> str:
        """The name of moved reals.

        That of the quantiser after them where it changes nothing, else their own.
        """
        name = value.name or ""
        quantizers = [node for node in value.consumers() if node.op_type == "QuantizeLinear"]
        clips = [_only_clip(node.outputs[0]) for node in quantizers]
        if quantizers and clips[0] is None and same_grid(grid_of(quantizers[0]), params):
            return stripped(quantizers[0].outputs[0].name or name)
        taken = {
            stripped((clip or node).outputs[0].name or "")
            for node, clip in zip(quantizers, clips, strict=True)
        }
        return f"{name}_moved" if name in taken else name

    # ---- quantisers ------------------------------------------------------------------------------

    def _quantize(self, node: ir.Node, operand: SymbolicValue | None) -> None:
        params, value = grid_of(node), node.outputs[0]
        if isinstance(operand, QdqConstant):
            on_grid = operand.params is not None and same_grid(operand.params, params)
            self._values[value] = (
                operand
                if on_grid
                else QdqConstant(operand.name, params.quantize(_reals(operand)), params)
            )
            return
        if operand is None or isinstance(operand, (Quantized, ShapeValue)):
            raise ArtefactError(
                f"QuantizeLinear {title(node)!r} reads no floats",
                hint="write the model again from its source",
            )
        clip = _only_clip(value)
        if clip is not None:
            low, high = bounds_of(clip)
            params = replace(
                params, qmin=int(max(params.qmin, low)), qmax=int(min(params.qmax, high))
            )
            value = clip.outputs[0]
        tensor = self._onto(
            node,
            operand,
            QuantizedRange(params, params.qmin, params.qmax),
            stripped(value.name or ""),
        )
        self._values[value] = self._values[node.outputs[0]] = Quantized(tensor)

    def _onto(
        self, node: ir.Node, symbolic: SymbolicValue | None, grid: QuantizedRange, name: str
    ) -> QdqTensor:
        """The tensor that holds ``symbolic`` on ``grid``.

        Movement commutes with quantisation, so it goes to its operands.
        """
        if isinstance(symbolic, Dequantized):
            return self._requantized(node, symbolic.tensor, grid, name)
        if isinstance(symbolic, Input) and symbolic.value in self._computed_with:
            return self._requantized(node, self._float_input(symbolic.value).tensor, grid, name)
        if isinstance(symbolic, Input):
            return self._input(symbolic.value, grid, name)
        if not isinstance(symbolic, DeferredOp):
            raise ArtefactError(
                f"{node.op_type} {title(node)!r} mixes constants with activations",
                hint="fold constants before exporting",
            )
        if (symbolic.low, symbolic.high) != (float("-inf"), float("inf")):
            check_numbers(symbolic)
        grid = _clipped(grid, symbolic.low, symbolic.high, symbolic.node)
        key = _key(symbolic, grid)
        if key not in self._made:
            self._made[key] = self._made_on(symbolic, grid, name)
        return self._made[key]

    def _made_on(self, deferred: DeferredOp, grid: QuantizedRange, name: str) -> QdqTensor:
        shape = self._shapes.of(deferred.value)
        if deferred.op_type == "Requantize" and isinstance(deferred.operands[0], Input):
            return self._onto(deferred.node, deferred.operands[0], grid, name)
        if deferred.op_type in MOVES:
            _check_padding(deferred.node, deferred.attributes, 0)
            inner = [value.name or "" for value in deferred.node.inputs if value is not None]
            operands: list[Operand | None] = [
                self._onto(deferred.node, operand, grid, inner[i])
                for i, operand in enumerate(deferred.operands)
            ]
        else:
            operands = [
                o.tensor
                if isinstance(o, Dequantized)
                else o
                if isinstance(o, QdqConstant)
                else None
                for o in deferred.operands
            ]
        return self._emit(
            deferred.op_type,
            deferred.node,
            tuple(operands),
            deferred.attributes,
            grid,
            name,
            shape,
            deferred.activation,
        )

    def _requantized(
        self, node: ir.Node, source: QdqTensor, grid: QuantizedRange, name: str
    ) -> QdqTensor:
        if (
            not source.is_float
            and same_grid(source.params, grid.params)
            and grid.low <= source.low
            and source.high <= grid.high
        ):
            return source
        return self._emit("Requantize", node, (source,), {}, grid, name, source.shape)

    def _input(self, value: ir.Value, grid: QuantizedRange, name: str) -> QdqTensor:
        known = self._inputs.get(value)
        if known is None:
            known = QdqTensor(
                self._unique(name),
                self._shapes.of(value),
                grid.params,
                grid.low,
                grid.high,
                value.name or "",
            )
            self._inputs[value] = known
        if not same_grid(known.params, grid.params) or (known.low, known.high) != (
            grid.low,
            grid.high,
        ):
            raise ArtefactError(
                f"the input {value.name!r} is quantised on two grids",
                hint="use one quantiser for the input",
            )
        return known

    def _emit(
        self,
        op_type: str,
        node: ir.Node,
        operands: tuple[Operand | None, ...],
        attributes: Mapping[str, AttributeValue],
        grid: QuantizedRange,
        name: str,
        shape: tuple[int, ...],
        activation: Activation = "",
    ) -> QdqTensor:
        _check_samples(node, operands, attributes)
        low, high = output_range(op_type, operands, grid.params)
        low, high = max(low, grid.low), min(high, grid.high)
        if low > high:
            raise ArtefactError(
                f"{node.op_type} {title(node)!r} leaves no integer in its range",
                hint="check its clipping bounds",
            )
        tensor = QdqTensor(self._unique(name), shape, grid.params, low, high)
        self._ops.append(
            QdqOp(op_type, title(node), operands, tensor, attributes, activation, source_line(node))
        )
        return tensor

    def _unique(self, name: str) -> str:
        wanted, n = name or "tensor", 2
        while wanted in self._names:
            wanted, n = f"{name}_{n}", n + 1
        self._names.add(wanted)
        return wanted

    # ---- outputs ---------------------------------------------------------------------------------

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
            return QdqOutput(name, self._rectified(symbolic).tensor)
        raise ArtefactError(
            f"the output {name!r} is not computed from quantised tensors", hint=_HINT
        )

    def _epilogue(self, deferred: DeferredOp, name: str) -> QdqOutput | None:
        """A softmax or an argmax at the end, which is no fallback region.

        Its result leaves the graph.
        """
        source = deferred.operands[0] if deferred.operands else None
        if not isinstance(source, Dequantized) or source.tensor.is_float or deferred.activation:
            return None
        _check_samples(deferred.node, (source.tensor,), deferred.attributes)
        if deferred.op_type in _HEADS:
            return QdqOutput(
                name,
                source.tensor,
                _HEADS[deferred.op_type],
                int(deferred.attributes["axis"]),  # type: ignore[arg-type]
            )
        if deferred.op_type == "ArgMax" and not deferred.attributes.get("select_last_index", 0):
            attributes = deferred.attributes
            dtype: Literal["int32", "int64"] = (
                "int32" if attributes.get("dtype") == "int32" else "int64"
            )
            return QdqOutput(
                name,
                source.tensor,
                "argmax",
                int(attributes["axis"]),  # type: ignore[arg-type]
                bool(attributes.get("keepdims", 1)),
                dtype,
            )
        return None


def _reals(constant: QdqConstant) -> NDArray[np.float32]:
    params = constant.params
    return (
        constant.values.astype(np.float32)
        if params is None
        else params.dequantize(constant.values.astype(np.int32))
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
            hint="export it with one output",
        )
    return node.outputs[0]


def _only_clip(value: ir.Value) -> ir.Node | None:
    """The integer Clip right after a QuantizeLinear, where nothing else sees the unclipped integers."""
    consumers = list(value.consumers())
    if len(consumers) == 1 and consumers[0].op_type == "Clip" and not value.is_graph_output():
        return consumers[0]
    return None


def _named(low: float, high: float) -> Literal["", "relu", "relu6"]:
    if low == 0.0:
        return "relu6" if high == 6.0 else "relu" if high == float("inf") else ""
    return ""


def _clipped(grid: QuantizedRange, low: float, high: float, node: ir.Node) -> QuantizedRange:
    """Clipping real numbers before a quantiser is clipping its integers after it, since rounding keeps order."""
    if (low, high) == (float("-inf"), float("inf")):
        return grid
    if grid.params.axis is not None:
        raise ArtefactError(
            f"{node.op_type} {title(node)!r} is clipped on a grid with many scales",
            hint="use one scale a tensor",
        )
    least = grid.low if low == float("-inf") else max(grid.low, _onto_grid(low, grid.params))
    most = grid.high if high == float("inf") else min(grid.high, _onto_grid(high, grid.params))
    return QuantizedRange(grid.params, least, most)


def _onto_grid(bound: float, params: QuantParams) -> int:
    return int(params.quantize(np.array([bound], np.float32))[0])


def _key(deferred: DeferredOp, grid: QuantizedRange) -> Key:
    params = grid.params
    return (
        id(deferred.value),
        params.dtype,
        params.scale.tobytes(),
        params.zero_point.tobytes(),
        grid.low,
        grid.high,
    )


def _check_padding(node: ir.Node, attributes: Mapping[str, AttributeValue], zero: int) -> None:
    if "value" in attributes and node.op_type == "Pad" and attributes["value"] != zero:
        raise ArtefactError(
            f"Pad {title(node)!r} does not pad with zeros",
            hint="only padding with zeros keeps the integers exact",
        )


def _check_samples(
    node: ir.Node, operands: tuple[Operand | None, ...], attributes: Mapping[str, AttributeValue]
) -> None:
    source = operands[0] if operands else None
    if isinstance(source, QdqTensor):
        check_samples(node, source.shape, attributes)


def _in_float(deferred: DeferredOp) -> ArtefactError:
    line = source_line(deferred.node)
    return ArtefactError(
        f"the result of {deferred.node.op_type} {title(deferred.node)!r} stays in float: "
        "no quantiser follows it" + (f" (from {line})" if line else ""),
        hint=_HINT,
    )


def _fold(ops: list[QdqOp], outputs: tuple[QdqOutput, ...]) -> list[QdqOp]:
    """Merge a bare clip on an unchanged grid into the operator that computed the tensor, where nothing else reads that."""
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
    """Read a QDQ or QOperator ONNX model, from this or any other tool, opset 13 to 25; ``model`` is left as it is.

    Args:
        model: the model.
        float_fallback: whether results without a quantiser become tensors in float
            (``QdqTensor.is_float``) rather than an error.

    Raises:
        ArtefactError: parts of the graph stay in float, all of which it names; or it is not valid
            ONNX, has a cycle or unknown shapes.
    """
    from edgeq.qdq.qoperator.convert import as_qdq
    from edgeq.qdq.qoperator.operators import require_static

    quantized = as_qdq(model)
    require_static(quantized.graph)
    return Reader(quantized, float_fallback).read()
