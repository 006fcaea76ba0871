"""The walk from the nodes of a QDQ file to the integer operators they mean.

Each value of the file is given a meaning: a constant, integers of a quantised tensor, the real numbers those integers
stand for, or a float result that still waits for its quantiser. A QuantizeLinear turns the last kind into an operator.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Literal, TypeAlias

import numpy as np

from edgeq.errors import ArtefactError
from edgeq.qdq import MOVES, Operand, QdqConstant, QdqGraph, QdqOp, QdqOutput, QdqTensor, reach, same_grid
from edgeq.qdq_nodes import Shapes, attributes_of, bounds_of, constant_of, grid_of, in_order, stripped, title

if TYPE_CHECKING:
    from collections.abc import Mapping

    import onnx_ir as ir

    from edgeq.qdq import Activation, AttributeValue
    from edgeq.quant import QuantParams

_TRANSPARENT = frozenset(("Identity", "Dropout"))
_SHAPE_OF = frozenset(("Shape", "Size"))
_ACTIVATIONS = frozenset(("Relu", "Clip"))
_MEND = "put a QuantizeLinear/DequantizeLinear pair after it, or quantise with the integer placement"


@dataclass(frozen=True, slots=True, eq=False)
class _Stored:
    """The integers of a tensor."""

    tensor: QdqTensor


@dataclass(frozen=True, slots=True, eq=False)
class _Real:
    """The numbers that a tensor's integers stand for."""

    tensor: QdqTensor


@dataclass(frozen=True, slots=True, eq=False)
class _Input:
    """An input of the graph, not quantised yet."""

    value: ir.Value


@dataclass(frozen=True, slots=True, eq=False)
class _Opaque:
    """Arithmetic on shapes; only Reshape reads it, whose output's shape is known anyway."""


@dataclass(frozen=True, slots=True, eq=False)
class _Pending:
    """A float result that waits for its quantiser, clipped to ``low .. high``."""

    node: ir.Node
    value: ir.Value
    op_type: str
    operands: tuple[_Meaning | None, ...]
    attributes: Mapping[str, AttributeValue]
    low: float = float("-inf")
    high: float = float("inf")
    activation: Activation = ""


_Meaning: TypeAlias = "QdqConstant | _Stored | _Real | _Input | _Opaque | _Pending"
_Key: TypeAlias = tuple[int, str, bytes, bytes, int, int]


@dataclass(frozen=True, slots=True)
class _Grid:
    """Where a quantiser puts its result: stored grid, and the integers left after clipping."""

    params: QuantParams
    low: int
    high: int


@dataclass(slots=True)
class Reader:
    """Reads one model."""

    model: ir.Model
    _shapes: Shapes = field(init=False)
    _meanings: dict[ir.Value, _Meaning] = field(default_factory=dict)
    _ops: list[QdqOp] = field(default_factory=list)
    _inputs: dict[ir.Value, QdqTensor] = field(default_factory=dict)
    _made: dict[_Key, QdqTensor] = field(default_factory=dict)
    _names: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        self._shapes = Shapes(self.model)

    def read(self) -> QdqGraph:
        """The integer graph.

        Raises:
            ArtefactError: see :func:`edgeq.qdq.read_qdq`.
        """
        for node in in_order(self.model.graph):
            self._visit(node)
        outputs = tuple(self._output(value) for value in self.model.graph.outputs)
        graph_inputs = [value for value in self.model.graph.inputs if value in self._inputs]
        return QdqGraph(
            ops=tuple(_fold(self._ops, outputs)),
            inputs=tuple(self._inputs[value] for value in graph_inputs),
            outputs=outputs,
            dynamic_batch=any(
                value.shape is not None and len(value.shape) > 0 and not isinstance(value.shape[0], int) for value in graph_inputs
            ),
            metadata=dict(self.model.metadata_props),
            integers={value.name or "": m.tensor.name for value, m in self._meanings.items() if isinstance(m, _Stored)},
        )

    # ---- meanings -------------------------------------------------------------------------------------------------

    def _meaning(self, value: ir.Value) -> _Meaning:
        if value not in self._meanings:
            constant = constant_of(value)
            if constant is not None:
                self._meanings[value] = QdqConstant(stripped(value.name or "constant"), constant, None)
            elif value.is_graph_input():
                self._meanings[value] = _Input(value)
            else:
                raise ArtefactError(f"nothing computes the value {value.name!r}", mend="write the model again from its source")
        return self._meanings[value]

    def _visit(self, node: ir.Node) -> None:
        if node.op_type == "Constant" or (node.outputs and node.outputs[0] in self._meanings):
            return
        operands = tuple(None if value is None else self._meaning(value) for value in node.inputs)
        if (
            node.op_type in _SHAPE_OF
            or (any(isinstance(o, _Opaque) for o in operands) and node.op_type not in MOVES)
            or _all_opaque(operands)
        ):
            self._meanings.update({value: _Opaque() for value in node.outputs})
        elif node.op_type == "QuantizeLinear":
            self._quantize(node, operands[0])
        elif node.op_type == "DequantizeLinear":
            self._meanings[node.outputs[0]] = self._dequantized(node, operands[0])
        elif node.op_type in _TRANSPARENT and operands[0] is not None:
            self._meanings[node.outputs[0]] = operands[0]
        elif node.op_type in _ACTIVATIONS:
            self._meanings[node.outputs[0]] = self._activation(node, operands[0])
        elif node.op_type == "Split":
            self._split(node, operands[0])
        else:
            self._meanings[_only_output(node)] = self._computed(node, operands)

    def _dequantized(self, node: ir.Node, operand: _Meaning | None) -> _Meaning:
        params = grid_of(node)
        if isinstance(operand, QdqConstant):
            if operand.values.dtype.kind not in "iu":
                raise ArtefactError(f"DequantizeLinear {title(node)!r} reads floats", mend="store the integers it should read")
            return QdqConstant(operand.name, operand.values, operand.params or params)
        if isinstance(operand, _Input):
            low_high = _Grid(params, params.qmin, params.qmax)
            return _Real(self._input(operand.value, low_high, stripped(operand.value.name or "input")))
        if not isinstance(operand, _Stored):
            raise ArtefactError(f"DequantizeLinear {title(node)!r} reads what no QuantizeLinear wrote", mend=_MEND)
        if not same_grid(params, operand.tensor.params):
            raise ArtefactError(
                f"DequantizeLinear {title(node)!r} reads {operand.tensor.name!r} on another grid than it was written on",
                mend="give the QuantizeLinear and its DequantizeLinear one scale and zero point",
            )
        return _Real(operand.tensor)

    def _activation(self, node: ir.Node, operand: _Meaning | None) -> _Meaning:
        low, high = bounds_of(node)
        value = node.outputs[0]
        if isinstance(operand, _Stored):
            params = operand.tensor.params
            narrowed = replace(params, qmin=int(max(params.qmin, low)), qmax=int(min(params.qmax, high)))
            return _Stored(
                self._requantized(node, operand.tensor, _Grid(narrowed, narrowed.qmin, narrowed.qmax), stripped(value.name or ""))
            )
        if isinstance(operand, _Pending):
            low, high = max(low, operand.low), min(high, operand.high)
            return replace(operand, low=low, high=high, activation=_named(low, high))
        if isinstance(operand, (_Real, _Input)):
            return _Pending(node, value, "Requantize", (operand,), {}, low, high, _named(low, high))
        raise ArtefactError(f"{node.op_type} {title(node)!r} works on a constant", mend="fold constants before exporting")

    def _computed(self, node: ir.Node, operands: tuple[_Meaning | None, ...]) -> _Meaning:
        value = node.outputs[0]
        if node.op_type == "Transpose" and isinstance(operands[0], QdqConstant):
            return _transposed(node, operands[0])
        shape = self._shapes.of(node.inputs[0], value) if node.inputs else ()
        attributes = attributes_of(node, shape)
        if node.op_type not in MOVES:
            return _Pending(node, value, node.op_type, tuple(map(self._ready, operands)), attributes)
        data = operands if node.op_type == "Concat" else operands[:1]
        if len({type(o) for o in data}) == 1 and (moved := self._moved(node, value, data, attributes)) is not None:
            return moved
        return _Pending(node, value, node.op_type, data, attributes)

    def _split(self, node: ir.Node, operand: _Meaning | None) -> None:
        """A Split is as many Slices as it has outputs."""
        axis = attributes_of(node, self._shapes.of(node.inputs[0]))["axis"]
        start = 0
        for value in node.outputs:
            shape = self._shapes.of(value)
            end = start + shape[int(axis)]  # type: ignore[arg-type]
            attributes: dict[str, AttributeValue] = {"starts": (start,), "ends": (end,), "axes": (int(axis),), "steps": (1,)}  # type: ignore[arg-type]
            moved = self._moved(node, value, (operand,), attributes, "Slice")
            self._meanings[value] = moved or _Pending(node, value, "Slice", (operand,), attributes)
            start = end

    def _ready(self, operand: _Meaning | None) -> _Meaning | None:
        """An operand of arithmetic must be on a grid already; a Relu of such an operand leaves it there."""
        if isinstance(operand, _Pending):
            return self._rectified(operand)
        if isinstance(operand, _Input):
            raise ArtefactError(
                f"the input {operand.value.name!r} is used in float", mend="put a QuantizeLinear/DequantizeLinear pair after it"
            )
        if isinstance(operand, _Stored):
            raise ArtefactError(
                f"arithmetic is done on the integers of {operand.tensor.name!r}",
                mend="write it between DequantizeLinear and QuantizeLinear",
            )
        return operand

    def _rectified(self, pending: _Pending) -> _Real:
        source = pending.operands[0] if pending.operands else None
        if pending.op_type != "Requantize" or pending.activation != "relu" or not isinstance(source, _Real) or not source.tensor.per_tensor:
            raise _island(pending)
        params = source.tensor.params
        grid = _Grid(params, max(params.qmin, source.tensor.zero_point), params.qmax)
        return _Real(self._requantized(pending.node, source.tensor, grid, pending.value.name or ""))

    def _moved(
        self,
        node: ir.Node,
        value: ir.Value,
        data: tuple[_Meaning | None, ...],
        attributes: Mapping[str, AttributeValue],
        op_type: str = "",
    ) -> _Stored | _Real | None:
        """Data movement on tensors of one grid needs no quantiser of its own; None where the grids differ."""
        tensors = [o.tensor for o in data if isinstance(o, (_Stored, _Real))]
        if len(tensors) < len(data) or any(not same_grid(t.params, tensors[0].params) for t in tensors):
            return None
        stored = isinstance(data[0], _Stored)
        _check_padding(node, attributes, tensors[0].zero_point if stored else 0)
        params = replace(tensors[0].params, qmin=min(t.params.qmin for t in tensors), qmax=max(t.params.qmax for t in tensors))
        grid = _Grid(params, min(t.low for t in tensors), max(t.high for t in tensors))
        name = stripped(value.name or "") if stored else self._moved_name(value, params)
        tensor = self._emit(op_type or node.op_type, node, tuple(tensors), attributes, grid, name, self._shapes.of(value))
        return _Stored(tensor) if stored else _Real(tensor)

    def _moved_name(self, value: ir.Value, params: QuantParams) -> str:
        """The name of moved reals: that of the quantiser after them where it changes nothing, else their own."""
        name = value.name or ""
        quantizers = [node for node in value.consumers() if node.op_type == "QuantizeLinear"]
        clips = [_only_clip(node.outputs[0]) for node in quantizers]
        if quantizers and clips[0] is None and same_grid(grid_of(quantizers[0]), params):
            return stripped(quantizers[0].outputs[0].name or name)
        taken = {stripped((clip or node).outputs[0].name or "") for node, clip in zip(quantizers, clips, strict=True)}
        return f"{name}_moved" if name in taken else name

    # ---- quantisers -----------------------------------------------------------------------------------------------

    def _quantize(self, node: ir.Node, operand: _Meaning | None) -> None:
        params, value = grid_of(node), node.outputs[0]
        if isinstance(operand, QdqConstant):
            self._meanings[value] = QdqConstant(operand.name, params.quantize(operand.values.astype(np.float32)), params)
            return
        if operand is None or isinstance(operand, (_Stored, _Opaque)):
            raise ArtefactError(f"QuantizeLinear {title(node)!r} reads no floats", mend="write the model again from its source")
        clip = _only_clip(value)
        if clip is not None:
            low, high = bounds_of(clip)
            params = replace(params, qmin=int(max(params.qmin, low)), qmax=int(min(params.qmax, high)))
            value = clip.outputs[0]
        tensor = self._onto(node, operand, _Grid(params, params.qmin, params.qmax), stripped(value.name or ""))
        self._meanings[value] = self._meanings[node.outputs[0]] = _Stored(tensor)

    def _onto(self, node: ir.Node, meaning: _Meaning | None, grid: _Grid, name: str) -> QdqTensor:
        """The tensor that holds ``meaning`` on ``grid``; movement commutes with quantisation, so it goes to its operands."""
        if isinstance(meaning, _Real):
            return self._requantized(node, meaning.tensor, grid, name)
        if isinstance(meaning, _Input):
            return self._input(meaning.value, grid, name)
        if not isinstance(meaning, _Pending):
            raise ArtefactError(f"{node.op_type} {title(node)!r} mixes constants with activations", mend="fold constants before exporting")
        grid = _clipped(grid, meaning.low, meaning.high, meaning.node)
        key = _key(meaning, grid)
        if key not in self._made:
            self._made[key] = self._made_on(meaning, grid, name)
        return self._made[key]

    def _made_on(self, pending: _Pending, grid: _Grid, name: str) -> QdqTensor:
        shape = self._shapes.of(pending.value)
        if pending.op_type == "Requantize" and isinstance(pending.operands[0], _Input):
            return self._onto(pending.node, pending.operands[0], grid, name)
        if pending.op_type in MOVES:
            _check_padding(pending.node, pending.attributes, 0)
            inner = [value.name or "" for value in pending.node.inputs if value is not None]
            operands: list[Operand | None] = [
                self._onto(pending.node, operand, grid, inner[i]) for i, operand in enumerate(pending.operands)
            ]
        else:
            operands = [o.tensor if isinstance(o, _Real) else o if isinstance(o, QdqConstant) else None for o in pending.operands]
        return self._emit(pending.op_type, pending.node, tuple(operands), pending.attributes, grid, name, shape, pending.activation)

    def _requantized(self, node: ir.Node, source: QdqTensor, grid: _Grid, name: str) -> QdqTensor:
        if same_grid(source.params, grid.params) and grid.low <= source.low and source.high <= grid.high:
            return source
        return self._emit("Requantize", node, (source,), {}, grid, name, source.shape)

    def _input(self, value: ir.Value, grid: _Grid, name: str) -> QdqTensor:
        known = self._inputs.get(value)
        if known is None:
            known = QdqTensor(self._unique(name), self._shapes.of(value), grid.params, grid.low, grid.high, value.name or "")
            self._inputs[value] = known
        if not same_grid(known.params, grid.params) or (known.low, known.high) != (grid.low, grid.high):
            raise ArtefactError(f"the input {value.name!r} is quantised on two grids", mend="use one quantiser for the input")
        return known

    def _emit(
        self,
        op_type: str,
        node: ir.Node,
        operands: tuple[Operand | None, ...],
        attributes: Mapping[str, AttributeValue],
        grid: _Grid,
        name: str,
        shape: tuple[int, ...],
        activation: Activation = "",
    ) -> QdqTensor:
        low, high = reach(op_type, operands, grid.params)
        low, high = max(low, grid.low), min(high, grid.high)
        if low > high:
            raise ArtefactError(f"{node.op_type} {title(node)!r} leaves no integer in its range", mend="check its clipping bounds")
        tensor = QdqTensor(self._unique(name), shape, grid.params, low, high)
        self._ops.append(QdqOp(op_type, title(node), operands, tensor, attributes, activation))
        return tensor

    def _unique(self, name: str) -> str:
        wanted, n = name or "tensor", 2
        while wanted in self._names:
            wanted, n = f"{name}_{n}", n + 1
        self._names.add(wanted)
        return wanted

    # ---- outputs --------------------------------------------------------------------------------------------------

    def _output(self, value: ir.Value) -> QdqOutput:
        meaning = self._meaning(value)
        name = value.name or ""
        if isinstance(meaning, (_Real, _Stored)):
            return QdqOutput(name, meaning.tensor)
        if isinstance(meaning, _Pending) and meaning.op_type == "Softmax" and not meaning.activation:
            source = meaning.operands[0]
            if isinstance(source, _Real):
                return QdqOutput(name, source.tensor, "softmax", int(meaning.attributes["axis"]))  # type: ignore[arg-type]
        if isinstance(meaning, _Pending):
            return QdqOutput(name, self._rectified(meaning).tensor)
        raise ArtefactError(f"the output {name!r} is not computed from quantised tensors", mend=_MEND)


def _all_opaque(operands: tuple[_Meaning | None, ...]) -> bool:
    return bool(operands) and all(
        isinstance(o, _Opaque) or (isinstance(o, QdqConstant) and o.values.dtype == np.int64) for o in operands if o is not None
    )


def _only_output(node: ir.Node) -> ir.Value:
    if any(value.uses() or value.is_graph_output() for value in node.outputs[1:]):
        raise ArtefactError(f"more than one output of {node.op_type} {title(node)!r} is used", mend="export it with one output")
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


def _clipped(grid: _Grid, low: float, high: float, node: ir.Node) -> _Grid:
    """Clipping real numbers before a quantiser is clipping its integers after it, since rounding keeps order."""
    if (low, high) == (float("-inf"), float("inf")):
        return grid
    if grid.params.axis is not None:
        raise ArtefactError(f"{node.op_type} {title(node)!r} is clipped on a grid with many scales", mend="use one scale a tensor")
    least = grid.low if low == float("-inf") else max(grid.low, _onto_grid(low, grid.params))
    most = grid.high if high == float("inf") else min(grid.high, _onto_grid(high, grid.params))
    return _Grid(grid.params, least, most)


def _onto_grid(bound: float, params: QuantParams) -> int:
    return int(params.quantize(np.array([bound], np.float32))[0])


def _key(pending: _Pending, grid: _Grid) -> _Key:
    params = grid.params
    return id(pending.value), params.dtype, params.scale.tobytes(), params.zero_point.tobytes(), grid.low, grid.high


def _check_padding(node: ir.Node, attributes: Mapping[str, AttributeValue], zero: int) -> None:
    if node.op_type == "Pad" and (attributes["value"] != zero or attributes.get("mode", "constant") != "constant"):
        raise ArtefactError(f"Pad {title(node)!r} does not pad with zeros", mend="only padding with zeros keeps the integers exact")


def _transposed(node: ir.Node, constant: QdqConstant) -> QdqConstant:
    perm = tuple(int(axis) for axis in attributes_of(node, constant.values.shape)["perm"])  # type: ignore[union-attr]
    params = constant.params
    if params is not None and params.axis is not None:
        params = replace(params, axis=perm.index(params.axis % len(perm)))
    return QdqConstant(constant.name, constant.values.transpose(perm), params)


def _island(pending: _Pending) -> ArtefactError:
    return ArtefactError(
        f"the result of {pending.node.op_type} {title(pending.node)!r} stays in float: no quantiser follows it", mend=_MEND
    )


def _fold(ops: list[QdqOp], outputs: tuple[QdqOutput, ...]) -> list[QdqOp]:
    """Merge a bare clip on an unchanged grid into the operator that computed the tensor, where nothing else reads that."""
    uses: dict[str, int] = {}
    for tensor in [o for op in ops for o in op.inputs if isinstance(o, QdqTensor)] + [output.tensor for output in outputs]:
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
            op = replace(producer, output=op.output, activation=op.activation or producer.activation)
        folded[op.output.name] = op
    return list(folded.values())
