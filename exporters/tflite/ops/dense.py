"""Gemm and MatMul with constant weights as FULLY_CONNECTED."""

from __future__ import annotations

from typing import TYPE_CHECKING

from edgeq.exporters.tflite.context import Op
from edgeq.exporters.tflite.file.layouts import onnx_order
from edgeq.exporters.tflite.file.versions import FULLY_CONNECTED_PER_CHANNEL
from edgeq.exporters.tflite.ops.products import lower_product
from edgeq.exporters.tflite.storage import refused
from edgeq.formats.tflite_schema import schema
from edgeq.qdq.ir import QdqConstant, QdqTensor

if TYPE_CHECKING:
    from edgeq.exporters.tflite.context import LoweringContext
    from edgeq.qdq.ir import QdqOp


def lower_gemm(op: QdqOp, context: LoweringContext) -> None:
    """Append a Gemm, its weights (out, in) or (in, out)."""
    plain = op.real("alpha", 1.0) == 1.0 == op.real("beta", 1.0)
    if not plain or op.attributes.get("transA", 0):
        raise refused(
            op, "it scales or transposes its operands", "use alpha = beta = 1 and transA = 0"
        )
    _lower(op, context, output_axis=0 if op.attributes.get("transB", 0) else 1)


def lower_matmul(op: QdqOp, context: LoweringContext) -> None:
    """Append a MatMul: with constant weights (in, out) as FULLY_CONNECTED, else as BATCH_MATMUL."""
    if not isinstance(op.inputs[0], QdqTensor) or not is_matrix(op.inputs[1]):
        lower_product(op, context)
        return
    _lower(op, context, output_axis=1)


def _lower(op: QdqOp, context: LoweringContext, output_axis: int) -> None:
    source, weights = context.operand(op), op.inputs[1]
    if not isinstance(weights, QdqConstant) or weights.values.ndim != 2:
        raise refused(
            op,
            "its second operand is no constant matrix",
            "use MatMul for a product of two activations",
        )
    centered = context.weights(op, weights, channel_axis=output_axis)
    rows = centered if output_axis == 0 else centered.T
    filters = context.add_weights(weights, rows, axis=0, packed=context.fits_int4(source, rows))
    bias = context.add_bias(op, source, weights, rows)
    rank = len(op.output.shape)
    index = context.read(source, onnx_order(len(source.shape)))
    options = schema.FullyConnectedOptionsT()
    options.keepNumDims = rank > 2
    # of a hybrid kernel: as XNNPACK's and the convolutions' do, and ONNX's dynamic quantisation
    options.asymmetricQuantizeInputs = context.is_hybrid
    with context.writing(op, onnx_order(rank), fuses_relu=True) as (target, activation):
        options.fusedActivationFunction = activation
        version = (
            FULLY_CONNECTED_PER_CHANNEL
            if weights.params is not None and weights.params.axis is not None
            else 5
            if rank > 2
            else 4
        )
        context.builder.operator(
            Op.FULLY_CONNECTED, version, [index, filters, bias], [target], options
        )


def is_matrix(operand: object) -> bool:
    """Whether an operand is a constant that FULLY_CONNECTED takes as weights."""
    return isinstance(operand, QdqConstant) and operand.values.ndim == 2
