"""The one table of ONNX operators that become TFLite.

What each is written as, and on what conditions.

The exporter looks up its functions here, the command line prints it, and the documentation is
generated from it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from edgeq.exporters.tflite.context import Op
from edgeq.exporters.tflite.ops.blocks import lower_depth_to_space, lower_space_to_depth
from edgeq.exporters.tflite.ops.convolution import lower_conv
from edgeq.exporters.tflite.ops.dense import lower_gemm, lower_matmul
from edgeq.exporters.tflite.ops.elementwise import (
    lower_add,
    lower_clip,
    lower_div,
    lower_mul,
    lower_pow,
    lower_prelu,
    lower_relu,
    lower_requantize,
    lower_sub,
)
from edgeq.exporters.tflite.ops.flat import with_lines
from edgeq.exporters.tflite.ops.float_functions import (
    lower_batch_normalization,
    lower_layer_normalization,
)
from edgeq.exporters.tflite.ops.gathering import (
    lower_embedding,
    lower_gather,
    lower_pick,
    lower_scatter,
)
from edgeq.exporters.tflite.ops.normalizing import lower_log_softmax, lower_softmax
from edgeq.exporters.tflite.ops.pointwise import FUNCTIONS, KERNELS, lower_lookup, lower_pointwise
from edgeq.exporters.tflite.ops.pooling import (
    lower_average_pool,
    lower_global_average_pool,
    lower_global_max_pool,
    lower_max_pool,
    lower_reduce_max,
    lower_reduce_mean,
)
from edgeq.exporters.tflite.ops.products import lower_reduce_sum
from edgeq.exporters.tflite.ops.resizing import lower_resize, lower_resize_nearest
from edgeq.exporters.tflite.ops.shape import (
    lower_concat,
    lower_identity,
    lower_pad,
    lower_reshape,
    lower_slice,
    lower_transpose,
)
from edgeq.exporters.tflite.ops.transposed import lower_conv_transpose

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from edgeq.exporters.tflite.context import LoweringContext
    from edgeq.qdq.ir import QdqOp

_TABLE = "CAST, ADD, GATHER"
_AS_A_TABLE = (
    "with a constant number, or between functions of one tensor of 8 bits: the whole as one table"
)
_ANY = "any"
_ONE_GRID = "input and output on one grid"


@dataclass(frozen=True, slots=True)
class OperatorSupport:
    """What becomes of an ONNX operator.

    Attributes:
        onnx: its name.
        tflite: what it is written as, for people.
        conditions: when; a model that does not meet them is refused, or kept in float where that is
            allowed.
    """

    onnx: str
    tflite: str
    conditions: str


_WINDOWS = (
    "1-D and 2-D; constant int8 or int4 weights with zero point 0, int32 bias of scale input "
    "* weight"
)
_READ = {
    "ArgMax": ("ARG_MAX", "as an output of the model, perhaps through a Cast to int32"),
    "BatchNormalization": (
        "CONV_2D, TRANSPOSE_CONV, DEPTHWISE_CONV_2D",
        (
            "folded into the convolution before it; after a quantiser a DEPTHWISE_CONV_2D of "
            "its own; constant numbers"
        ),
    ),
    "Cast": ("nothing", "between floats of 32 bits; to int32 or int64 behind an ArgMax"),
    "Clip": ("part of the operator before it, MAXIMUM, MINIMUM", "constant bounds"),
    "Dropout": ("nothing", _ANY),
    "Expand": ("GATHER", _ANY),
    "GatherND": ("GATHER", "rows of the first axis by constant indices, as torch writes x[index]"),
    "Identity": ("nothing", _ANY),
    "LayerNormalization": (
        "MEAN, SUB, MUL, ADD, RSQRT",
        (
            "in float only, with --allow-float; constant scale and bias; edgeq calibrate writes it "
            "as operators with integer kernels"
        ),
    ),
    "Relu": ("part of the operator before it, RELU", _ANY),
    "Split": ("SLICE", "constant sizes"),
    "Tile": ("GATHER", "constant repeats; not of an open batch"),
    **dict.fromkeys(("Max", "Min"), (_TABLE, _AS_A_TABLE)),
    **{
        name: (
            f"{_TABLE}; {name.upper()} in float",
            f"{_AS_A_TABLE}; any other in float only, with --allow-float",
        )
        for name in ("Div", "Pow")
    },
}
"""Operators that the reader of QDQ models sees to; they are not in the integer view."""

_WRITTEN: Mapping[str, tuple[Callable[[QdqOp, LoweringContext], None], str, str]] = {
    "Add": (lower_add, "ADD", "constants quantised with one scale"),
    "AveragePool": (
        with_lines(lower_average_pool),
        "AVERAGE_POOL_2D, MEAN",
        f"{_ONE_GRID}; padding counted, or that of SAME_UPPER",
    ),
    "Concat": (lower_concat, "CONCATENATION", _ANY),
    "Conv": (with_lines(lower_conv), "CONV_2D, DEPTHWISE_CONV_2D", _WINDOWS),
    "ConvTranspose": (
        with_lines(lower_conv_transpose),
        "CONV_2D, DEPTHWISE_CONV_2D; TRANSPOSE_CONV, SLICE where it strides",
        (
            f"{_WINDOWS}; with strides neither groups nor dilation, and the file's batch stays "
            "as exported"
        ),
    ),
    "DepthToSpace": (lower_depth_to_space, "DEPTH_TO_SPACE; GATHER before it for mode CRD", _ANY),
    "Flatten": (lower_reshape, "RESHAPE", _ANY),
    "Gather": (
        lower_gather,
        "GATHER",
        "constant indices; or rows of a constant table, by whole numbers that are an input",
    ),
    "Gemm": (lower_gemm, "FULLY_CONNECTED", "alpha = beta = 1, transA = 0, constant weights"),
    "GlobalAveragePool": (lower_global_average_pool, "MEAN", _ANY),
    "GlobalMaxPool": (lower_global_max_pool, "REDUCE_MAX", _ANY),
    "LogSoftmax": (
        lower_log_softmax,
        "LOG_SOFTMAX, QUANTIZE",
        "scale 1/16 or greater, nothing below -16; any as an output in float",
    ),
    "MatMul": (
        lower_matmul,
        "FULLY_CONNECTED, BATCH_MATMUL",
        "two activations, or one and a constant; 2 to 5 dimensions",
    ),
    "MaxPool": (
        with_lines(lower_max_pool),
        "MAX_POOL_2D; PAD, PADV2 before it for padding other than SAME",
        "no dilation",
    ),
    "Mul": (lower_mul, "MUL", "constants quantised with one scale"),
    "PRelu": (lower_prelu, "PRELU", "slopes quantised with one scale"),
    "Pad": (
        lower_pad,
        "PAD, SLICE; GATHER where it reflects",
        "with zeros, or by reflect, edge or wrap; negative padding crops",
    ),
    "ReduceMax": (lower_reduce_max, "REDUCE_MAX", _ANY),
    "ReduceMean": (lower_reduce_mean, "MEAN", _ANY),
    "ReduceSum": (
        lower_reduce_sum,
        "BATCH_MATMUL",
        "TFLite's SUM is wrong in its reference kernel, so the sum is a product with ones",
    ),
    "Reshape": (lower_reshape, "RESHAPE", _ANY),
    "Resize": (
        lower_resize,
        "RESIZE_BILINEAR",
        (
            f"mode linear of images, {_ONE_GRID}, by factors at which TFLite's sampling points "
            "are ONNX's, as powers of two are"
        ),
    ),
    "ResizeNearest": (
        lower_resize_nearest,
        "RESIZE_NEAREST_NEIGHBOR, GATHER",
        "mode nearest, without cropping or axes",
    ),
    "ScatterElements": (
        lower_scatter,
        "BATCH_MATMUL",
        'reduction="add" of whole rows onto constant zeros, constant indices',
    ),
    "Slice": (lower_slice, "SLICE, STRIDED_SLICE", "constant bounds"),
    "Softmax": (
        lower_softmax,
        "SOFTMAX, QUANTIZE",
        "scale 1/8192 or greater; any as an output in float",
    ),
    "SpaceToDepth": (lower_space_to_depth, "SPACE_TO_DEPTH", _ANY),
    "Squeeze": (lower_reshape, "RESHAPE", _ANY),
    "Sub": (lower_sub, "SUB", "constants quantised with one scale"),
    "Transpose": (lower_transpose, "nothing, TRANSPOSE", _ANY),
    "Unsqueeze": (lower_reshape, "RESHAPE", _ANY),
}

_INTERNAL: Mapping[str, Callable[[QdqOp, LoweringContext], None]] = {
    "BatchNormalization": lower_batch_normalization,
    "Clip": lower_clip,
    "Div": lower_div,
    "Embedding": lower_embedding,
    "Identity": lower_identity,
    "LayerNormalization": lower_layer_normalization,
    "Lookup": lower_lookup,
    "Pick": lower_pick,
    "Pow": lower_pow,
    "Relu": lower_relu,
    "Requantize": lower_requantize,
}
"""Operators of the integer view and of float networks that ONNX names otherwise or not at all."""

LOWERINGS: Mapping[str, Callable[[QdqOp, LoweringContext], None]] = {
    **{name: lower for name, (lower, _, _) in _WRITTEN.items()},
    **dict.fromkeys(FUNCTIONS, lower_pointwise),
    **_INTERNAL,
}
"""The function that writes each operator of the integer view.

An operator is added by writing its function and naming it above.
"""


def operators() -> tuple[OperatorSupport, ...]:
    """Every ONNX operator that can be written, by name."""
    rows = [
        OperatorSupport(name, tflite, conditions)
        for name, (_, tflite, conditions) in _WRITTEN.items()
        if name != "ResizeNearest"
    ]
    rows += [
        OperatorSupport(name, tflite, conditions) for name, (tflite, conditions) in _READ.items()
    ]
    rows += [_function(name) for name in FUNCTIONS]
    nearest = _WRITTEN["ResizeNearest"]
    rows = [
        OperatorSupport(row.onnx, f"{row.tflite}; {nearest[1]}", f"{row.conditions}; {nearest[2]}")
        if row.onnx == "Resize"
        else row
        for row in rows
    ]
    return tuple(sorted(rows, key=lambda row: row.onnx))


def _function(name: str) -> OperatorSupport:
    if name not in KERNELS:
        return OperatorSupport(name, _TABLE, _ANY)
    own = next(key for key, number in vars(Op).items() if number == KERNELS[name].builtin)
    return OperatorSupport(name, f"{own}; {_TABLE} where the grids ask for it", _ANY)
