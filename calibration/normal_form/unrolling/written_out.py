"""Writes operators out that ONNX itself defines by others.

Their schemas hold a function, some of which depend on the types and attributes of the node. What
calibration knows by itself, such as LayerNormalization or Gelu, stays as it is.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import onnx
import onnx.inliner
import onnx_ir as ir

from edgeq.calibration.precision import in_single_precision
from edgeq.errors import ArtefactError

if TYPE_CHECKING:
    from collections.abc import Callable

WRITTEN_OUT = frozenset(
    (
        *("RMSNormalization", "Attention", "CastLike", "Shrink", "SwiGLU"),
        *("ReduceLogSum", "ReduceLogSumExp", "CenterCropPad"),
    )
)
"""The operators that are written out."""


def write_out(model: ir.Model, to_proto: Callable[[ir.Model], onnx.ModelProto]) -> ir.Model:
    """The model without such operators; the same one where it has none.

    Args:
        model: in any operator set.
        to_proto: makes the message that onnx reads.

    Raises:
        ArtefactError: onnx does not know the types that a function depends on.
    """
    names = sorted({node.op_type for node in model.graph if node.domain == ""} & WRITTEN_OUT)
    if not names:
        return model
    try:
        typed = onnx.shape_inference.infer_shapes(to_proto(model))
        for tensor in typed.graph.initializer:  # whose types onnx does not look for where they are
            info = onnx.helper.make_tensor_value_info(tensor.name, tensor.data_type, tensor.dims)
            typed.graph.value_info.append(info)
        written = onnx.inliner.inline_selected_functions(
            typed, [("", name) for name in names], inline_schema_functions=True
        )
    # TypeError: older versions of onnx do not write out what a schema defines
    except (RuntimeError, TypeError, onnx.shape_inference.InferenceError) as error:
        raise ArtefactError(
            f"{' and '.join(names)} cannot be written out: {error}",
            hint="export the model with the operators that these are made of",
        ) from error
    # what a function is made of may be written out too; its casts to doubles are not needed
    return write_out(in_single_precision(ir.from_proto(written)), to_proto)
