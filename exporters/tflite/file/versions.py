"""Versions of TFLite operators.

What tensors other than int8 ask for, and the oldest runtime that knows a version.

A runtime refuses an operator of a newer version than it knows. So a version that is too low is not
a detail: it lets an old runtime compute something else. The tables follow LiteRT's own
(``tools/versioning``), with one exception, named below.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from edgeq.errors import ArtefactError
from edgeq.formats.tflite_schema import schema

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

Op = schema.BuiltinOperator

FULLY_CONNECTED_PER_CHANNEL = 12
"""Older kernels silently take the first scale for all rows.

LiteRT's own table of versions knows this only for float activations.
"""

_WITH_INT4_WEIGHTS: Mapping[int, int] = {
    Op.CONV_2D: 7,
    Op.DEPTHWISE_CONV_2D: 7,
    Op.FULLY_CONNECTED: 10,
}
"""Operators whose kernels read int4 weights, with int8 activations."""

_WITH_INT16: Mapping[int, int] = {
    Op.ADD: 3,
    Op.AVERAGE_POOL_2D: 3,
    Op.BATCH_MATMUL: 3,
    Op.CAST: 3,
    Op.CONCATENATION: 3,
    Op.CONV_2D: 4,
    Op.DEPTHWISE_CONV_2D: 5,
    Op.DEQUANTIZE: 3,
    Op.FULLY_CONNECTED: 7,
    Op.GATHER: 4,
    Op.LEAKY_RELU: 2,
    Op.LOGISTIC: 3,
    Op.MAXIMUM: 4,
    Op.MAX_POOL_2D: 3,
    Op.MEAN: 3,
    Op.MINIMUM: 4,
    Op.MUL: 4,
    Op.PAD: 3,
    Op.PADV2: 3,
    Op.QUANTIZE: 2,
    Op.REDUCE_MAX: 3,
    Op.REDUCE_MIN: 3,
    Op.RELU: 3,
    Op.RELU6: 3,
    Op.RESHAPE: 1,
    Op.RESIZE_BILINEAR: 4,
    Op.RESIZE_NEAREST_NEIGHBOR: 4,
    Op.SLICE: 4,
    Op.SOFTMAX: 3,
    Op.SPLIT: 4,
    Op.STRIDED_SLICE: 2,
    Op.SUB: 5,
    Op.TANH: 3,
    Op.TRANSPOSE: 5,
    Op.TRANSPOSE_CONV: 3,
}
"""Operators with kernels for int16 activations."""

_HYBRID: Mapping[int, int] = {
    Op.CONV_2D: 5,
    Op.DEPTHWISE_CONV_2D: 6,
    Op.FULLY_CONNECTED: FULLY_CONNECTED_PER_CHANNEL,
}
"""Operators whose kernels read float activations beside int8 weights, by channel."""

_FIRST_INT8_RUNTIME = "1.14.0"
RUNTIME_OF_VERSION: Mapping[tuple[int, int], str] = {
    (Op.ADD, 3): "2.4.0",
    (Op.AVERAGE_POOL_2D, 3): "2.3.0",
    (Op.BATCH_MATMUL, 2): "2.3.0",
    (Op.BATCH_MATMUL, 3): "2.4.0",
    (Op.CAST, 3): "2.8.0",
    (Op.CONCATENATION, 3): "2.3.0",
    (Op.CONV_2D, 4): "2.3.0",
    (Op.CONV_2D, 5): "2.4.0",
    (Op.CONV_2D, 6): "2.9.0",
    (Op.CONV_2D, 7): "2.11.0",
    (Op.DEPTHWISE_CONV_2D, 5): "2.3.0",
    (Op.DEPTHWISE_CONV_2D, 6): "2.3.0",
    (Op.DEPTHWISE_CONV_2D, 7): "2.11.0",
    (Op.DEQUANTIZE, 3): "1.15.0",
    (Op.FULLY_CONNECTED, 5): "2.0.0",
    (Op.FULLY_CONNECTED, 7): "2.3.0",
    (Op.FULLY_CONNECTED, 10): "2.11.0",
    (Op.FULLY_CONNECTED, 12): "2.17.0",
    (Op.GATHER, 4): "2.4.0",
    (Op.LEAKY_RELU, 2): "2.3.0",
    (Op.LOGISTIC, 3): "2.3.0",
    (Op.MAXIMUM, 4): "2.3.0",
    (Op.MAX_POOL_2D, 3): "2.3.0",
    (Op.MEAN, 3): "2.4.0",
    (Op.MINIMUM, 4): "2.3.0",
    (Op.MUL, 3): "1.15.0",
    (Op.MUL, 4): "2.3.0",
    (Op.PAD, 3): "2.4.0",
    (Op.PADV2, 3): "2.4.0",
    (Op.QUANTIZE, 2): "1.15.0",
    (Op.REDUCE_MAX, 3): "2.5.0",
    (Op.REDUCE_MIN, 3): "2.5.0",
    (Op.RELU, 2): "2.1.0",
    (Op.RELU, 3): "2.5.0",
    (Op.RELU6, 3): "2.5.0",
    (Op.RESHAPE, 1): "1.5.0",
    (Op.RESIZE_BILINEAR, 3): "2.2.0",
    (Op.RESIZE_BILINEAR, 4): "2.5.0",
    (Op.RESIZE_NEAREST_NEIGHBOR, 3): "2.3.0",
    (Op.RESIZE_NEAREST_NEIGHBOR, 4): "2.4.0",
    (Op.SLICE, 4): "2.4.0",
    (Op.SOFTMAX, 3): "2.3.0",
    (Op.SPLIT, 4): "2.3.0",
    (Op.SUB, 5): "2.4.0",
    (Op.TANH, 3): "2.3.0",
    (Op.TRANSPOSE, 5): "2.4.0",
    (Op.TRANSPOSE_CONV, 2): "2.2.0",
    (Op.TRANSPOSE_CONV, 3): "2.3.0",
    (Op.TRANSPOSE_CONV, 4): "2.13.0",
}
"""The oldest TensorFlow Lite that runs an operator version, where it is not 1.14.0."""


def least_version(builtin: int, types: Iterable[int]) -> int:
    """The min version of an operator that reads or writes tensors of these types.

    It is 1 where only int8, or only float, is among them.

    Raises:
        ArtefactError: no kernel does.
    """
    present = set(types)
    if schema.TensorType.INT4 in present:
        return _WITH_INT4_WEIGHTS[builtin]
    if {schema.TensorType.FLOAT32, schema.TensorType.INT8} <= present and builtin in _HYBRID:
        return _HYBRID[builtin]
    if schema.TensorType.INT16 not in present:
        return 1
    if builtin not in _WITH_INT16:
        raise ArtefactError(
            f"TFLite's {_name(builtin)} has no kernel for int16 activations",
            hint="quantise what it reads to 8 bits",
        )
    return _WITH_INT16[builtin]


def oldest_runtime(codes: Iterable[tuple[int, int]]) -> str:
    """The oldest TensorFlow Lite that runs these operators, each with its version."""
    versions = (RUNTIME_OF_VERSION.get(key, _FIRST_INT8_RUNTIME) for key in codes)
    return max(
        versions, key=lambda text: tuple(map(int, text.split("."))), default=_FIRST_INT8_RUNTIME
    )


def _name(builtin: int) -> str:
    return next((str(name) for name, number in vars(Op).items() if number == builtin), str(builtin))
