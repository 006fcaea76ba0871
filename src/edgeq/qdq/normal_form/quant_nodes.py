"""Quantisers of QONNX and Brevitas as those of ONNX.

A ``Quant`` rounds real numbers onto a grid and gives real numbers again: a QuantizeLinear and a
DequantizeLinear in one node, of any width. The integers of constants are computed here.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import onnx_ir as ir

from edgeq.formats.graph_editor import GraphEditor
from edgeq.formats.qdq_pair import quantize
from edgeq.qdq.nodes import constant_of, integer_of, stripped, title
from edgeq.quant import STORAGE_RANGE, QuantParams

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from numpy.typing import NDArray

QUANT_DOMAINS = ("qonnx.custom_op.general", "finn.custom_op.general", "onnx.brevitas")
"""The domains in which tools write these operators; not all of them import theirs."""

_QUANT = ("Quant", "IntQuant")
_OPERATORS = (*_QUANT, "BipolarQuant", "Trunc", "FloatQuant")
_ORT = "com.microsoft"
_SIXTEEN_BITS_SINCE = 21  # the opset; ONNX Runtime's own QuantizeLinear always had them
_WIDEST = {8: ("int8", "uint8"), 16: ("int16", "uint16")}
_MOST_BITS = 32
_ROUNDING: Mapping[str, Callable[[NDArray[np.float32]], NDArray[np.float32]]] = {
    "ROUND": np.rint,
    "HALF_EVEN": np.rint,
    "CEIL": np.ceil,
    "FLOOR": np.floor,
    "UP": lambda x: np.sign(x) * np.ceil(np.abs(x)),
    "DOWN": np.trunc,
    "ROUND_TO_ZERO": np.trunc,
    "HALF_UP": lambda x: np.sign(x) * np.floor(np.abs(x) + np.float32(0.5)),
    "HALF_DOWN": lambda x: np.sign(x) * np.ceil(np.abs(x) - np.float32(0.5)),
}
_AS_QUANTIZE_LINEAR = ("ROUND", "HALF_EVEN")


def is_quant_node(node: ir.Node) -> bool:
    """Whether a node is one of the quantisers of QONNX or Brevitas."""
    return node.domain in QUANT_DOMAINS and node.op_type in _OPERATORS


def with_onnx_quantizers(model: ir.Model) -> ir.Model:
    """A copy of a model with ONNX's quantisers for these; the model itself without any.

    What has no such form stays; :func:`quant_problem` tells why.
    """
    if not any(is_quant_node(node) for node in model.graph):
        return model
    copy = model.clone()
    editor = GraphEditor(copy.graph)
    for node in tuple(copy.graph):
        if is_quant_node(node) and quant_problem(node) is None:
            _rewrite(editor, node)
    for domain in QUANT_DOMAINS:
        if not any(node.domain == domain for node in copy.graph):
            copy.graph.opset_imports.pop(domain, None)
    if any(node.domain == _ORT for node in copy.graph):
        copy.graph.opset_imports.setdefault(_ORT, 1)
    return copy


def quant_problem(node: ir.Node) -> tuple[str, str] | None:
    """Why a quantiser of QONNX has no QDQ form, with a hint; None for one that has."""
    on_constant = constant_of(node.inputs[0]) is not None
    if node.op_type == "FloatQuant":
        return "rounds to small floats, not to integers", "quantise to integers"
    if node.op_type == "Trunc":
        return (
            "cuts bits off without rounding, which no QuantizeLinear does",
            "average with a quantiser behind it, without TruncAvgPool",
        )
    if any(value is not None and constant_of(value) is None for value in node.inputs[1:]):
        return (
            "computes its scale, zero point or bit width while the model runs",
            "fold constants first: qonnx-cleanup does, or onnxsim",
        )
    scale = _numbers(node, 1)
    if not np.all(np.isfinite(scale) & (scale > 0)):
        return "has a scale that is not a positive number", "calibrate the model again"
    if sum(size != 1 for size in scale.shape) > 1:
        return "has scales along more than one axis", "use one scale a tensor or a channel"
    if node.op_type == "BipolarQuant":
        return (
            None
            if on_constant
            else ("makes activations of one bit", "give activations 2 bits or more")
        )
    zero, bits = _numbers(node, 2), _numbers(node, 3)
    if bits.size != 1 or bits.item() != int(bits.item()) or not 1 <= bits.item() <= _MOST_BITS:
        return f"has a width of {bits.tolist()} bits", "use one whole width from 2 to 32 bits"
    grid = _Grid.of(node)
    if np.any(zero != np.rint(zero)) or zero.min() < grid.low or zero.max() > grid.high:
        return (
            "has a zero point that is no integer of its range",
            "round the zero point, or quantise symmetrically",
        )
    if on_constant and _rounding(node) in _ROUNDING:
        return None
    if _rounding(node) not in _AS_QUANTIZE_LINEAR:
        return f"rounds activations by {_rounding(node)}", "round by ROUND, to the nearest even"
    if grid.dtype == "int32":
        return f"gives activations {int(bits.item())} bits", "give them 16 bits at most"
    return None


@dataclass(frozen=True, slots=True)
class _Grid:
    """The integers of a Quant: their storage dtype, the smallest and the largest."""

    dtype: str
    low: int
    high: int

    @classmethod
    def of(cls, node: ir.Node) -> _Grid:
        bits = int(_numbers(node, 3).item())
        signed, narrow = integer_of(node, "signed", 1), integer_of(node, "narrow", 0)
        # ONNX dequantises no uint32: a wide unsigned range is one of int32 that ends sooner
        low = -(2 ** (bits - 1)) + narrow if signed else 0
        high = 2 ** (bits - 1) - 1 if signed else 2**bits - 1 - narrow
        dtype = next(
            (names[not signed] for width, names in _WIDEST.items() if bits <= width), "int32"
        )
        return cls(dtype, low, min(high, STORAGE_RANGE[dtype][1]))


def _rewrite(editor: GraphEditor, node: ir.Node) -> None:
    numbers = constant_of(node.inputs[0])
    if numbers is not None:
        real = _constant(editor, node, np.asarray(numbers, np.float32))
    else:
        real = _activation(editor, node)
    old = node.outputs[0]
    name, shape, dtype = old.name, old.shape, old.type
    old.replace_all_uses_with(real, replace_graph_outputs=True)
    if node.graph is not None:
        node.graph.remove(node, safe=True)
    source = node.inputs[0] if node.inputs else None
    real.name = name
    real.type = dtype or ir.TensorType(ir.DataType.FLOAT)
    real.shape = shape or (None if source is None else source.shape)


def _constant(editor: GraphEditor, node: ir.Node, numbers: NDArray[np.float32]) -> ir.Value:
    """The integers of a constant behind a DequantizeLinear."""
    if node.op_type == "BipolarQuant":
        integers, dtype = np.where(numbers >= 0, 1, -1), "int8"
        params = _params(node, numbers.ndim, dtype, -1, 1)
    else:
        grid = _Grid.of(node)
        dtype, params = grid.dtype, _params(node, numbers.ndim, *_fields(grid))
        scale, zero = _numbers(node, 1), _numbers(node, 2)
        rounded = _ROUNDING[_rounding(node)](numbers / scale + zero)
        integers = np.clip(rounded.astype(np.float64), grid.low, grid.high)
    name = stripped(node.inputs[0].name or "constant") if node.inputs[0] is not None else "constant"
    stored = editor.constant(f"{name}_quantized", integers.astype(dtype))
    inputs = [
        stored,
        editor.constant(f"{name}_scale", params.scale),
        editor.constant(f"{name}_zero_point", params.zero_point.astype(dtype)),
    ]
    axis = [] if params.axis is None else [ir.AttrInt64("axis", params.axis)]
    made = editor.node(
        "DequantizeLinear", inputs, f"{name}_dequantized", axis, name=f"{title(node)}/Dequantize"
    )
    if node.graph is not None:
        node.graph.insert_before(node, made)
    return made.outputs[0]


def _activation(editor: GraphEditor, node: ir.Node) -> ir.Value:
    """A QuantizeLinear, a Clip where the width is none of ONNX's, and a DequantizeLinear."""
    source = node.inputs[0]
    if source is None:
        raise ValueError(title(node))
    rank = len(source.shape) if source.shape is not None else _numbers(node, 1).ndim
    params = _params(node, rank, *_fields(_Grid.of(node)))
    made: dict[str, ir.Value] = {}

    def constant(wanted: str, array: NDArray[np.generic]) -> ir.Value:
        if wanted not in made:
            made[wanted] = editor.constant(wanted, array)
        return made[wanted]

    def add(op_type: str, inputs: Sequence[ir.Value], wanted: str, dtype: ir.DataType) -> ir.Value:
        axis = [] if params.axis is None or op_type == "Clip" else [params.axis]
        new = editor.node(
            op_type,
            inputs,
            wanted,
            [ir.AttrInt64("axis", each) for each in axis],
            name=f"{title(node)}/{op_type}",
        )
        if op_type != "Clip" and _is_too_wide(node, params):
            new.domain = _ORT
        result = new.outputs[0]
        result.type, result.shape = ir.TensorType(dtype), source.shape
        if node.graph is not None:
            node.graph.insert_before(node, new)
        return result

    name = node.outputs[0].name or "quantized"
    return quantize(source, name, name, params, node=add, constant=constant)


def _is_too_wide(node: ir.Node, params: QuantParams) -> bool:
    opset = node.graph.opset_imports.get("", 0) if isinstance(node.graph, ir.Graph) else 0
    return params.dtype.endswith("16") and opset < _SIXTEEN_BITS_SINCE


def _params(node: ir.Node, rank: int, dtype: str, low: int, high: int) -> QuantParams:
    """The grid of a quantiser for a tensor of so many dimensions."""
    scale = _numbers(node, 1)
    zero = _numbers(node, 2) if node.op_type in _QUANT else np.zeros(())
    long = [axis - scale.ndim for axis, size in enumerate(scale.shape) if size != 1]
    axis = rank + long[0] if long else None
    size = (scale.size,) if long else ()
    zeros = np.broadcast_to(zero, scale.shape) if zero.size == 1 else zero
    return QuantParams.of(
        scale.reshape(size), zeros.reshape(size).astype(np.int32), dtype, low, high, axis
    )


def _fields(grid: _Grid) -> tuple[str, int, int]:
    return grid.dtype, grid.low, grid.high


def _numbers(node: ir.Node, position: int) -> NDArray[np.float32]:
    value = node.inputs[position] if position < len(node.inputs) else None
    numbers = constant_of(value)
    return np.zeros((), np.float32) if numbers is None else np.asarray(numbers, np.float32)


def _rounding(node: ir.Node) -> str:
    attribute = node.attributes.get("rounding_mode")
    return "ROUND" if attribute is None else attribute.as_string().upper()
