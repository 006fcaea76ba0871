"""Makes the tensors and operators of the integer view from symbolic values.

The reader says what each node of the file means; here the result is put on the grid of its
quantiser, or becomes a tensor in float where none follows.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import numpy as np

from edgeq.errors import ArtefactError
from edgeq.qdq.ir import Operand, QdqConstant, QdqOp, QdqTensor, output_range, same_grid
from edgeq.qdq.lookup_tables import check_numbers
from edgeq.qdq.nodes import grid_of, source_line, stripped, title
from edgeq.qdq.op_traits import traits_of
from edgeq.qdq.picks import EMBEDDING
from edgeq.qdq.shapes import check_samples
from edgeq.qdq.symbolic import (
    DeferredOp,
    Dequantized,
    Input,
    Key,
    Quantized,
    QuantizedRange,
    SymbolicValue,
)
from edgeq.quant import QuantParams

if TYPE_CHECKING:
    from collections.abc import Mapping

    import onnx_ir as ir

    from edgeq.numerics.attributes import AttributeValue
    from edgeq.qdq.shapes import Shapes

QUANTIZE_HINT = (
    "put a QuantizeLinear/DequantizeLinear pair after it, or quantise with the integer placement"
)
UNROLL_HINT = (
    "calibrate the float model: edgeq calibrate writes the operators of its steps, each with a grid"
)
_NO_GRID = QuantParams.of(1.0)
_WHOLE_NUMBERS = QuantParams.of(1.0, 0, "int32")


@dataclass(slots=True)
class GraphBuilder:
    """The tensors and operators of one graph as they are found.

    Attributes:
        shapes: the dimensions of the file's values.
        computed_with: graph inputs that an operator computes with before any quantiser.
        ops: the operators so far.
        inputs: the tensors that hold graph inputs.
        blocked: what has to stay in float, and why.
    """

    shapes: Shapes
    computed_with: frozenset[ir.Value]
    ops: list[QdqOp] = field(default_factory=list)
    inputs: dict[ir.Value, QdqTensor] = field(default_factory=dict)
    blocked: list[ArtefactError] = field(default_factory=list)
    _made: dict[Key, QdqTensor] = field(default_factory=dict)
    _names: set[str] = field(default_factory=set)

    def ready(self, operand: SymbolicValue | None) -> SymbolicValue | None:
        """An operand of arithmetic must be on a grid already.

        A Relu of such an operand leaves it there.
        """
        if isinstance(operand, DeferredOp):
            return self.rectified(operand)
        if isinstance(operand, Input):
            return self._float_input(operand.value)
        if isinstance(operand, Quantized) and operand.tensor.is_index:
            raise ArtefactError(
                f"the whole numbers of the input {operand.tensor.name!r} are computed with",
                hint="pick rows of tables by them only; a mask can be an input of its own, float32",
            )
        if isinstance(operand, Quantized):
            raise ArtefactError(
                f"arithmetic is done on the integers of {operand.tensor.name!r}",
                hint="write it between DequantizeLinear and QuantizeLinear",
            )
        return operand

    def rectified(self, deferred: DeferredOp) -> Dequantized:
        """A float result as a tensor: a Relu keeps its input's grid, all else stays in float."""
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
            self.requantized(deferred.node, source.tensor, grid, deferred.value.name or "")
        )

    def _fallback(self, deferred: DeferredOp) -> Dequantized:
        """A result that no quantiser follows, as a tensor in float."""
        name = deferred.value.name or ""
        key = (id(deferred.value), "float", b"", b"", 0, 0)
        if key not in self._made:
            self.blocked.append(_in_float(deferred))
            bounded = deferred.is_bounded
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

    def put_together(self, deferred: DeferredOp) -> Dequantized:
        """A result that only moves quantised numbers of several grids to an output, in float."""
        if not traits_of(deferred.op_type).moves or deferred.is_bounded:
            return self.rectified(deferred)
        operands = tuple(
            self.put_together(operand).tensor
            if isinstance(operand, DeferredOp)
            else self._float_operand(operand)
            for operand in deferred.operands
        )
        key = (id(deferred.value), "float", b"", b"", 0, 0)
        if key not in self._made:
            self._made[key] = self._float(
                deferred,
                deferred.value.name or "",
                operands,
                deferred.op_type,
                deferred.attributes,
            )
        return Dequantized(self._made[key])

    def _float_operand(self, operand: SymbolicValue | None) -> Operand | None:
        if isinstance(operand, Quantized) and operand.tensor.is_index:
            return operand.tensor
        ready = self.ready(operand)
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
        check_samples(deferred.node, operands, attributes)
        tensor = QdqTensor(
            self._unique(name),
            self.shapes.of(deferred.value),
            _NO_GRID,
            _NO_GRID.qmin,
            _NO_GRID.qmax,
            is_float=True,
        )
        self.ops.append(
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
        if value not in self.inputs:
            self.blocked.append(
                ArtefactError(
                    f"the input {value.name!r} is used in float",
                    hint="put a QuantizeLinear/DequantizeLinear pair after it",
                )
            )
            name = self._unique(value.name or "input")
            shape = self.shapes.of(value)
            self.inputs[value] = QdqTensor(
                name, shape, _NO_GRID, _NO_GRID.qmin, _NO_GRID.qmax, value.name or "", is_float=True
            )
        return Dequantized(self.inputs[value])

    def moved(
        self,
        node: ir.Node,
        value: ir.Value,
        data: tuple[SymbolicValue | None, ...],
        attributes: Mapping[str, AttributeValue],
        op_type: str = "",
    ) -> Quantized | Dequantized | None:
        """Data movement on tensors of one grid, which needs no quantiser; None on several grids."""
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
            self.shapes.of(value),
        )
        return Quantized(tensor) if stored else Dequantized(tensor)

    def _moved_name(self, value: ir.Value, params: QuantParams) -> str:
        """The name of moved reals.

        That of the quantiser after them where it changes nothing, else their own.
        """
        name = value.name or ""
        quantizers = [node for node in value.consumers() if node.op_type == "QuantizeLinear"]
        clips = [only_clip(node.outputs[0]) for node in quantizers]
        if quantizers and clips[0] is None and same_grid(grid_of(quantizers[0]), params):
            return stripped(quantizers[0].outputs[0].name or name)
        taken = {
            stripped((clip or node).outputs[0].name or "")
            for node, clip in zip(quantizers, clips, strict=True)
        }
        return f"{name}_moved" if name in taken else name

    def onto(
        self, node: ir.Node, symbolic: SymbolicValue | None, grid: QuantizedRange, name: str
    ) -> QdqTensor:
        """The tensor that holds ``symbolic`` on ``grid``.

        Movement commutes with quantisation, so it goes to its operands.
        """
        if isinstance(symbolic, Dequantized):
            return self.requantized(node, symbolic.tensor, grid, name)
        if isinstance(symbolic, Input) and symbolic.value in self.computed_with:
            return self.requantized(node, self._float_input(symbolic.value).tensor, grid, name)
        if isinstance(symbolic, Input):
            return self.input(symbolic.value, grid, name)
        if not isinstance(symbolic, DeferredOp):
            raise ArtefactError(
                f"{node.op_type} {title(node)!r} joins a constant, such as a class token, with "
                "activations",
                hint="calibrate the float model: edgeq calibrate pads instead, and adds the "
                "constant",
            )
        if symbolic.is_bounded:
            check_numbers(symbolic)
        grid = _clipped(grid, symbolic.low, symbolic.high, symbolic.node)
        key = _key(symbolic, grid)
        if key not in self._made:
            self._made[key] = self._made_on(symbolic, grid, name)
        return self._made[key]

    def _made_on(self, deferred: DeferredOp, grid: QuantizedRange, name: str) -> QdqTensor:
        shape = self.shapes.of(deferred.value)
        if deferred.op_type == "Requantize" and isinstance(deferred.operands[0], Input):
            return self.onto(deferred.node, deferred.operands[0], grid, name)
        if traits_of(deferred.op_type).moves:
            _check_padding(deferred.node, deferred.attributes, 0)
            inner = [value.name or "" for value in deferred.node.inputs if value is not None]
            operands: list[Operand | None] = [
                self.onto(deferred.node, operand, grid, inner[i])
                for i, operand in enumerate(deferred.operands)
            ]
        else:
            operands = [
                o.tensor
                if isinstance(o, (Dequantized, Quantized))
                else o
                if isinstance(o, QdqConstant)
                else None
                for o in deferred.operands
            ]
        if deferred.op_type == EMBEDDING:
            operands = [_table_on(o, grid) if isinstance(o, QdqConstant) else o for o in operands]
        return self._emit(
            deferred.op_type,
            deferred.node,
            tuple(operands),
            deferred.attributes,
            grid,
            name,
            shape,
            deferred,
        )

    def requantized(
        self, node: ir.Node, source: QdqTensor, grid: QuantizedRange, name: str
    ) -> QdqTensor:
        """A tensor on another grid or range; itself where nothing changes."""
        if (
            not source.is_float
            and same_grid(source.params, grid.params)
            and grid.low <= source.low
            and source.high <= grid.high
        ):
            return source
        return self._emit("Requantize", node, (source,), {}, grid, name, source.shape)

    def input(self, value: ir.Value, grid: QuantizedRange, name: str) -> QdqTensor:
        """The tensor that holds a graph input.

        Raises:
            ArtefactError: the input is already quantised on another grid.
        """
        known = self.inputs.get(value)
        if known is None:
            known = QdqTensor(
                self._unique(name),
                self.shapes.of(value),
                grid.params,
                grid.low,
                grid.high,
                value.name or "",
            )
            self.inputs[value] = known
        if not same_grid(known.params, grid.params) or (known.low, known.high) != (
            grid.low,
            grid.high,
        ):
            raise ArtefactError(
                f"the input {value.name!r} is quantised on two grids",
                hint="use one quantiser for the input",
            )
        return known

    def index_input(self, value: ir.Value, rows: int) -> QdqTensor:
        """The tensor of an input of whole numbers that pick rows of tables of so many."""
        name = self._unique(value.name or "input")
        self.inputs[value] = QdqTensor(
            name, self.shapes.of(value), _WHOLE_NUMBERS, 0, rows - 1, value.name or ""
        )
        return self.inputs[value]

    def rows(self, deferred: DeferredOp) -> Dequantized | DeferredOp:
        """Rows of a table: on its grid where it has one, else on that of the quantiser behind."""
        table = deferred.operands[1]
        if not isinstance(table, QdqConstant) or table.params is None:
            return deferred
        params = table.params
        grid = QuantizedRange(params, params.qmin, params.qmax)
        return Dequantized(self._made_on(deferred, grid, self._moved_name(deferred.value, params)))

    def _emit(
        self,
        op_type: str,
        node: ir.Node,
        operands: tuple[Operand | None, ...],
        attributes: Mapping[str, AttributeValue],
        grid: QuantizedRange,
        name: str,
        shape: tuple[int, ...],
        deferred: DeferredOp | None = None,
    ) -> QdqTensor:
        check_samples(node, operands, attributes)
        low, high = output_range(op_type, operands, grid.params)
        low, high = max(low, grid.low), min(high, grid.high)
        if low > high:
            raise ArtefactError(
                f"{node.op_type} {title(node)!r} leaves no integer in its range",
                hint="check its clipping bounds",
            )
        tensor = QdqTensor(self._unique(name), shape, grid.params, low, high)
        self.ops.append(
            QdqOp(
                op_type,
                title(node),
                operands,
                tensor,
                attributes,
                "" if deferred is None else deferred.activation,
                source_line(node),
                None if deferred is None else deferred.norm,
            )
        )
        return tensor

    def _unique(self, name: str) -> str:
        wanted, n = name or "tensor", 2
        while wanted in self._names:
            wanted, n = f"{name}_{n}", n + 1
        self._names.add(wanted)
        return wanted


def _clipped(grid: QuantizedRange, low: float, high: float, node: ir.Node) -> QuantizedRange:
    """A clip of real numbers before a quantiser, as one of its integers: rounding keeps order."""
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


def _table_on(table: QdqConstant, grid: QuantizedRange) -> QdqConstant:
    """A table on the grid of what is picked from it: picking commutes with quantisation."""
    integers = grid.params.quantize(table.dequantized())
    return replace(table, values=integers.clip(grid.low, grid.high), params=grid.params)


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


def _in_float(deferred: DeferredOp) -> ArtefactError:
    line = source_line(deferred.node)
    return ArtefactError(
        f"the result of {deferred.node.op_type} {title(deferred.node)!r} stays in float: "
        "no quantiser follows it" + (f" (from {line})" if line else ""),
        hint=QUANTIZE_HINT,
    )


def only_clip(value: ir.Value) -> ir.Node | None:
    """The integer Clip right after a QuantizeLinear; None where something else reads that too."""
    consumers = list(value.consumers())
    if len(consumers) == 1 and consumers[0].op_type == "Clip" and not value.is_graph_output():
        return consumers[0]
    return None
