"""Why ONNX Runtime leaves an operator of a QDQ graph in float, told from what stands around it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from edgeq.errors import ArtefactError
from edgeq.plan import called
from edgeq.qdq.nodes import constant_of, grid_of

if TYPE_CHECKING:
    import onnx_ir as ir

_WEIGHTED = ("Conv", "Gemm", "MatMul")
_FUSED = frozenset(
    (
        *_WEIGHTED,
        "Add",
        "Mul",
        "Concat",
        "AveragePool",
        "GlobalAveragePool",
        "LeakyRelu",
        "Sigmoid",
        "Softmax",
        "Where",
        "Resize",
        "Split",
    )
)
_MOVES = frozenset(
    (
        "Reshape",
        "Flatten",
        "Squeeze",
        "Unsqueeze",
        "Transpose",
        "Slice",
        "MaxPool",
        "Gather",
        "Expand",
        "Tile",
        "Pad",
        "Clip",
    )
)
_SMALL = ("int4", "uint4", "int2", "uint2")


def why_float(node: ir.Node, *, optimize: bool) -> str:
    """What keeps a node out of the integer kernels; the first thing that does."""
    if not optimize:
        return "graph optimisation is off, and without it every QDQ model is computed in float"
    if node.op_type not in _FUSED | _MOVES | {"Relu"}:
        return f"ONNX Runtime has no integer kernel for {node.op_type}"
    return float_input(node) or float_weights(node) or _output(node) or _unfused(node)


def _unfused(node: ir.Node) -> str:
    producer = node.inputs[0].producer() if node.inputs and node.inputs[0] is not None else None
    signed = producer is not None and _storage_dtype(producer) == "int8"
    hint = ", which it does for uint8 activations rather than int8" if signed else ""
    return f"ONNX Runtime did not fuse it with the quantisers around it{hint}"


def float_input(node: ir.Node) -> str:
    """The first input that is not dequantised from 8 bits; empty where all are."""
    one = node.op_type in (*_WEIGHTED[:2], "ConvTranspose") or node.op_type in _MOVES
    data = node.inputs[:1] if one else node.inputs
    for value in data:
        if value is None or constant_of(value) is not None:
            continue
        producer = value.producer()
        if producer is None or producer.op_type != "DequantizeLinear":
            return f"its input {called(value.name)} is in float: no DequantizeLinear makes it"
        if (kind := _storage_dtype(producer)) not in ("int8", "uint8"):
            return f"its input {called(value.name)} is stored in {kind}"
    return ""


def float_weights(node: ir.Node) -> str:
    """What keeps the weights of a node that multiplies from being integers.

    Empty where nothing does.
    """
    value = node.inputs[1] if node.op_type in _WEIGHTED and len(node.inputs) > 1 else None
    if value is None:
        return ""
    producer = value.producer()
    if producer is None or producer.op_type != "DequantizeLinear":
        return "its weights are in float"
    kind = _storage_dtype(producer)
    return (
        f"its weights are stored in {kind}, which is widened to float as it runs"
        if kind in _SMALL
        else ""
    )


def _output(node: ir.Node) -> str:
    readers = list(node.outputs[0].consumers())
    if len(readers) == 1 and readers[0].op_type in ("Relu", "Clip") and node.op_type not in _MOVES:
        between = readers[0]
        quantizers = [
            reader
            for reader in between.outputs[0].consumers()
            if reader.op_type == "QuantizeLinear"
        ]
        if quantizers and between.op_type == "Clip":
            return "a float Clip stands between it and its QuantizeLinear"
        if quantizers and not _saturates_at_zero(quantizers[0]):
            return (
                "its Relu stays apart: the QuantizeLinear behind it has a zero point above "
                "the storage dtype's least integer"
            )
        readers = quantizers
    if (
        not readers
        or any(reader.op_type != "QuantizeLinear" for reader in readers)
        or node.outputs[0].is_graph_output()
    ):
        return "its output has no QuantizeLinear"
    if _narrow_int8(readers[0]):
        return "an integer Clip narrows its int8 output; in uint8 it would be fused"
    return ""


def _storage_dtype(quantizer: ir.Node) -> str:
    try:
        return grid_of(quantizer).dtype
    except ArtefactError:
        return "a type without constant scales"


def _saturates_at_zero(quantizer: ir.Node) -> bool:
    try:
        grid = grid_of(quantizer)
    except ArtefactError:
        return False
    return grid.axis is None and int(grid.zero_point) == grid.qmin


def _narrow_int8(quantizer: ir.Node) -> bool:
    clipped = any(reader.op_type == "Clip" for reader in quantizer.outputs[0].consumers())
    return clipped and _storage_dtype(quantizer) == "int8"
